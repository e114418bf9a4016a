"""The runner waits for others, and nobody waits for the runner."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from ingest.errors import DatabaseAway
from ingest.migrate import migrate
from ingest.migrate.session import LOCK, Patience
from tests.ingest.migrate.conftest import run

HASTY = Patience(lock_timeout_s=0.02, attempts=1000, pause_s=0.02, runner_timeout_s=0.2)
BOUND_S = 20


async def test_while_a_long_reader_holds_a_lock_the_runner_tries_again_and_nobody_queues_behind_it(
    platform_before: str,
) -> None:
    waiting = asyncio.Event()

    def progress(line: str) -> None:
        if "attempt 2 " in line:
            waiting.set()

    reader = await asyncpg.connect(platform_before)
    try:
        transaction = reader.transaction()
        await transaction.start()
        await reader.execute("select * from devices")
        migration = asyncio.create_task(migrate(platform_before, patience=HASTY, on_progress=progress))
        await asyncio.wait_for(waiting.wait(), BOUND_S)
        started = time.monotonic()
        assert await run(platform_before, "select count(*) from devices") == [(2,)]
        assert time.monotonic() - started < 1
        assert not migration.done()
        await transaction.commit()
        report = await asyncio.wait_for(migration, BOUND_S)
    finally:
        await reader.close()
    assert report.applied
    assert report.skipped == ()


async def test_a_lock_that_is_never_had_ends_the_run_and_names_the_file_and_the_holder(
    platform_before: str,
) -> None:
    reader = await asyncpg.connect(platform_before, server_settings={"application_name": "nightly report"})
    try:
        async with reader.transaction():
            await reader.execute("select * from devices")
            patience = Patience(lock_timeout_s=0.02, attempts=2, pause_s=0.01)
            with pytest.raises(DatabaseAway, match=r"devices_columns.*nightly report"):
                await migrate(platform_before, patience=patience)
    finally:
        await reader.close()
    assert (await migrate(platform_before)).applied


async def test_another_runner_that_does_not_end_is_not_waited_for_without_end(empty_database: str) -> None:
    other = await asyncpg.connect(empty_database)
    try:
        await other.execute(f"select pg_advisory_lock({LOCK})")
        with pytest.raises(DatabaseAway, match="another runner"):
            await migrate(empty_database, patience=HASTY)
    finally:
        await other.close()


async def test_a_runner_whose_connection_is_cut_leaves_whole_files_and_the_next_run_ends_the_work(
    platform_before: str, tmp_path: Path
) -> None:
    (tmp_path / "20260101000000_one.sql").write_text("create table public.one (id int);\n")
    (tmp_path / "20260101000001_two.sql").write_text(
        "create table public.two (id int);\nselect pg_terminate_backend(pg_backend_pid());\n"
    )
    with pytest.raises(DatabaseAway):
        await migrate(platform_before, folder=tmp_path)
    there = "select to_regclass('one') is not null, to_regclass('two') is not null"
    assert await run(platform_before, there) == [(True, False)]
    (tmp_path / "20260101000001_two.sql").write_text("create table public.two (id int);\n")
    assert (await migrate(platform_before, folder=tmp_path)).applied == ("20260101000001_two.sql",)
