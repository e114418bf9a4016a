"""A run that is cut short anywhere is finished by the next one."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ingest.errors import DatabaseAway
from ingest.migrate import migrate, status
from ingest.migrate.files import MIGRATIONS
from ingest.migrate.session import Patience
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, EVERY, build, until
from tests.servers.postgres import PostgresServer
from tests.servers.started import started

COHORT_INDEX = "devices_cohort_id_idx"
WAITING = "select pid from pg_stat_activity where application_name = 'rollcall migrate' and wait_event_type = 'Lock'"
VALID = f"select indisvalid from pg_index where indexrelid = to_regclass('{COHORT_INDEX}')"


@pytest.fixture
def durable_server() -> Iterator[PostgresServer]:
    with started(PostgresServer(durable=True)) as server:
        yield server


async def process(dsn: str, folder: Path = MIGRATIONS) -> asyncio.subprocess.Process:
    """Start a runner as a process of its own."""
    code = (
        "import asyncio, pathlib, sys; from ingest.migrate import migrate;"
        "asyncio.run(migrate(sys.argv[1], folder=pathlib.Path(sys.argv[2])))"
    )
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, dsn, str(folder))


async def test_a_runner_that_is_killed_in_the_middle_of_a_file_leaves_nothing_of_it(
    platform_before: str,
) -> None:
    holder = await asyncpg.connect(platform_before)
    try:
        async with holder.transaction():
            await holder.execute("lock table device_integrations in access share mode")
            runner = await process(platform_before)
            await until(lambda: run(platform_before, WAITING))
            runner.send_signal(signal.SIGKILL)
            await runner.wait()
            done = [s.filename for s in await status(platform_before) if s.state == "applied"]
            assert tuple(done) == EVERY[: len(done)] != EVERY
    finally:
        await holder.close()
    assert (await migrate(platform_before)).applied == EVERY[len(done) :]


async def test_an_index_build_that_is_cut_off_is_done_again(platform_before: str) -> None:
    holder = await asyncpg.connect(platform_before)
    try:
        await migrate(platform_before)
        await holder.execute(f"drop index {COHORT_INDEX}")
        await holder.execute("delete from rollcall.migrations where filename like '%cohort%'")
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetch("select * from devices")
            migration = asyncio.create_task(migrate(platform_before))
            await until(lambda: run(platform_before, WAITING))
            await run(platform_before, WAITING.replace("select pid", "select pg_terminate_backend(pid)"))
            with pytest.raises(DatabaseAway):
                await migration
            assert await run(platform_before, VALID) == [(False,)]
    finally:
        await holder.close()
    assert [name for name in (await migrate(platform_before)).applied if "cohort" in name]
    assert await run(platform_before, VALID) == [(True,)]


async def test_a_server_that_loses_its_power_in_the_middle_comes_back_to_whole_files(
    durable_server: PostgresServer,
) -> None:
    dsn = durable_server.dsn()
    await build(dsn, BEFORE)
    holder = await asyncpg.connect(dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("lock table device_integrations in access share mode")
    migration = asyncio.create_task(migrate(dsn))
    await until(lambda: run(dsn, WAITING))
    durable_server.kill9()
    with pytest.raises(DatabaseAway):
        await migration
    holder.terminate()
    durable_server.start()
    done = tuple(s.filename for s in await status(dsn) if s.state == "applied")
    assert done == EVERY[: len(done)] != EVERY
    assert (await migrate(dsn)).applied == EVERY[len(done) :]
    assert await run(dsn, "select count(*) from devices") == [(2,)]


async def test_a_runner_whose_client_is_gone_does_not_keep_the_next_one_waiting(
    platform_before: str, tmp_path: Path
) -> None:
    (tmp_path / "20260101000000_slow.sql").write_text("select pg_sleep(60);\n")
    first = await process(platform_before, tmp_path)
    sleeping = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
    await until(lambda: run(platform_before, sleeping))
    first.send_signal(signal.SIGKILL)
    await first.wait()
    (tmp_path / "20260101000000_slow.sql").write_text("select 1;\n")
    patience = Patience(runner_timeout_s=20)
    assert (await migrate(platform_before, folder=tmp_path, patience=patience)).applied
