"""A database that is away, slow or full, under load: nothing is lost, nothing is buried, and it goes on by itself."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from ingest.migrate.runner import migrate
from tests.crash.load import assert_rows_are_the_models, publish
from tests.crash.setting import add_integration, connected_once
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

AWAY_S = 60
LONG = 100_000
MAX_GROWTH_MIB = 100
"""64 MiB of payloads at most, and what Python needs around them."""
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rollcall'"


@pytest.fixture
async def rollcall(
    broker: MosquittoServer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[RollcallProcess]:
    await migrate(postgres.dsn())
    await add_integration(postgres.dsn(), broker.port)
    process = RollcallProcess(postgres.dsn(), tmp_path / "log")
    process.start()
    try:
        await connected_once(postgres.dsn())
        yield process
    finally:
        process.kill9()


@pytest.mark.timeout(300)
async def test_postgres_stopped_for_a_minute_under_load_costs_neither_a_message_nor_memory(
    broker: MosquittoServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    publishing = asyncio.create_task(publish(broker.port, LONG))
    await asyncio.sleep(3)
    before = rollcall.rss_mib()
    postgres.stop()
    most = before
    for _ in range(AWAY_S):
        await asyncio.sleep(1)
        most = max(most, rollcall.rss_mib())
    postgres.start()
    await publishing
    await assert_rows_are_the_models(postgres.dsn(), LONG, within_s=60)
    assert most - before < MAX_GROWTH_MIB, f"{before:.0f} MiB before, {most:.0f} MiB while Postgres was away"


async def test_statement_timeouts_are_an_outage_and_not_dead_letters(
    broker: MosquittoServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    person = await asyncpg.connect(postgres.dsn(), server_settings={"statement_timeout": "0"})
    await person.execute("alter database postgres set statement_timeout = '1ms'")
    await person.execute(CUT)
    publishing = asyncio.create_task(publish(broker.port, 4_000))
    await until(lambda: "57014" in rollcall.log.read_text(), 20, "the timeout is in the log")
    await person.execute("alter database postgres reset statement_timeout")
    await person.execute(CUT)
    await person.close()
    await publishing
    await assert_rows_are_the_models(postgres.dsn(), 4_000)


async def test_a_full_disk_is_an_outage_and_not_dead_letters(
    broker: MosquittoServer, postgres: PostgresServer, rollcall: RollcallProcess, tmp_path: Path
) -> None:
    with small_disk(postgres) as disk:
        postgres.psql(f"create tablespace small location '{disk}'")
        postgres.psql("alter table rollcall.device_readings set tablespace small")
        postgres.psql(
            "create table ballast tablespace small as select repeat(md5(n::text), 50) from generate_series(1, 1000) n"
        )
        with pytest.raises(RuntimeError):
            postgres.psql(
                "insert into ballast select repeat(md5(n::text), 50) from generate_series(1, 100000) n"
            )
        publishing = asyncio.create_task(publish(broker.port, 4_000))
        await until(lambda: "53100" in rollcall.log.read_text(), 30, "the full disk is in the log")
        assert postgres.psql("select count(*) from rollcall.dead_letters") == "0"
        postgres.psql("drop table ballast")
        await publishing
        await assert_rows_are_the_models(postgres.dsn(), 4_000)


@contextmanager
def small_disk(postgres: PostgresServer) -> Iterator[Path]:
    """A tmpfs of 16 MiB that Postgres may write; skips where this process may mount nothing."""
    folder = postgres.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "rollcall-test", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs: " + mounted.stderr.decode().strip())
    try:
        data = folder / "data"
        data.mkdir(mode=0o777)
        owner = postgres.folder.stat()
        os.chown(data, owner.st_uid, owner.st_gid)
        yield data
    finally:
        postgres.stop()
        subprocess.run(["umount", str(folder)], check=True)
