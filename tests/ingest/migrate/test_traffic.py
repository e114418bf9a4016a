"""The platform's own traffic goes on while its tables are extended."""

import asyncio
import time

import asyncpg

from ingest.migrate import migrate
from ingest.migrate.session import Patience
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import ORGANIZATION

DEVICES = 20_000
READ = "select id, name, status, firmware_version from devices where serial_number = $1"
WRITE = "update devices set status = 'online', last_seen = now(), battery_level = 50 where name = $1"
INSERT = f"insert into devices (organization_id, name, device_type) values ('{ORGANIZATION}', $1, 'meter')"


async def keep_on(dsn: str, statement: str, ended: asyncio.Event) -> list[float]:
    """Run a statement again and again until `ended` and return how many seconds each took."""
    connection = await asyncpg.connect(dsn)
    times: list[float] = []
    try:
        while not ended.is_set():
            started = time.monotonic()
            await connection.fetch(statement, f"D{len(times) % DEVICES}")
            times.append(time.monotonic() - started)
    finally:
        await connection.close()
    return times


async def test_readers_and_writers_see_no_error_and_no_long_wait(platform_before: str) -> None:
    await run(
        platform_before,
        f"""insert into devices (organization_id, name, device_type, serial_number)
        select '{ORGANIZATION}', 'D' || n, 'meter', 'D' || n from generate_series(1, {DEVICES}) as n""",
    )
    ended = asyncio.Event()
    traffic = [asyncio.create_task(keep_on(platform_before, s, ended)) for s in (READ, WRITE, INSERT)]
    try:
        report = await migrate(platform_before, patience=Patience(lock_timeout_s=0.5))
    finally:
        ended.set()
        times = await asyncio.gather(*traffic)
    assert (report.skipped, report.warnings) == ((), ())
    assert all(len(taken) > 1 for taken in times)
    assert max(max(taken) for taken in times) < 5
