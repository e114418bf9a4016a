import asyncio
from pathlib import Path

import pytest

from ingest.errors import DatabaseAway, MigrationRefused, Misconfigured
from ingest.migrate import migrate, status
from ingest.migrate.files import MIGRATIONS, discover
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import EVERY
from tests.servers.postgres import free_port

SERIALS = "devices_serial_number_key"


async def test_an_empty_database_gets_every_migration(empty_database: str) -> None:
    report = await migrate(empty_database)
    assert report.applied == EVERY
    assert report.warnings == ()
    assert {file.state for file in await status(empty_database)} == {"applied"}


async def test_an_empty_database_has_no_index_on_a_column_that_messages_update(database: str) -> None:
    columns = await run(
        database,
        """select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
        where i.indrelid = 'devices'::regclass""",
    )
    moving = {
        "status",
        "last_seen",
        "last_seen_online",
        "last_seen_offline",
        "battery_level",
        "signal_strength",
    }
    assert not moving & {name for (name,) in columns}
    options = await run(database, "select reloptions from pg_class where oid = 'devices'::regclass")
    assert options == [(["fillfactor=70"],)]


async def test_every_state_of_the_platform_gets_every_migration(platform: str) -> None:
    report = await migrate(platform)
    assert report.applied == EVERY
    columns = await run(
        platform,
        """select column_name, is_nullable, column_default from information_schema.columns
        where table_name = 'devices' and column_name in
            ('last_seen_online', 'last_seen_offline', 'hardware_ids', 'cohort_id', 'golioth_status')""",
    )
    assert len(columns) == 5
    assert {nullable for _, nullable, _ in columns} == {"YES"}


async def test_a_second_run_does_nothing(platform: str) -> None:
    await migrate(platform)
    before = await run(platform, "select filename, applied_at from rollcall.migrations order by 1")
    report = await migrate(platform)
    assert (report.applied, report.skipped, report.rebuilt, report.warnings) == ((), (), (), ())
    assert await run(platform, "select filename, applied_at from rollcall.migrations order by 1") == before


async def test_a_dry_run_says_what_it_would_do_and_changes_nothing(empty_database: str) -> None:
    report = await migrate(empty_database, dry_run=True)
    assert report.pending == EVERY
    assert await run(empty_database, "select to_regclass('devices'), to_regnamespace('rollcall')") == [
        (None, None)
    ]


async def test_two_runners_at_once_apply_each_file_once(platform_before: str) -> None:
    reports = await asyncio.gather(*(migrate(platform_before) for _ in range(3)))
    assert sorted(name for report in reports for name in report.applied) == sorted(EVERY)


async def test_a_changed_file_is_refused_by_name(empty_database: str, tmp_path: Path) -> None:
    first, second = tmp_path / "20260101000000_one.sql", tmp_path / "20260101000001_two.sql"
    first.write_text("create table public.one (id int);\n")
    await migrate(empty_database, folder=tmp_path)
    first.write_text("create table public.one (id bigint);\n")
    second.write_text("create table public.two (id int);\n")
    with pytest.raises(MigrationRefused, match=r"20260101000000_one\.sql.*new migration"):
        await migrate(empty_database, folder=tmp_path)
    assert await run(empty_database, "select to_regclass('two')") == [(None,)]
    assert [file.state for file in await status(empty_database, folder=tmp_path)] == ["changed", "pending"]


async def test_a_file_that_fails_leaves_nothing_behind_and_is_named(
    empty_database: str, tmp_path: Path
) -> None:
    (tmp_path / "20260101000000_bad.sql").write_text("create table public.one (id int);\nselect 1 / 0;\n")
    with pytest.raises(MigrationRefused, match="20260101000000_bad"):
        await migrate(empty_database, folder=tmp_path)
    assert await run(empty_database, "select to_regclass('one')") == [(None,)]


async def test_repeated_serial_numbers_skip_the_unique_index_with_the_repair(platform_before: str) -> None:
    copy = """insert into devices (organization_id, name, device_type, serial_number)
        select organization_id, 'copy', device_type, serial_number from devices"""
    await run(platform_before, copy)
    report = await migrate(platform_before)
    assert (
        [name for name in report.skipped if SERIALS in name] == list(report.skipped) == list(report.pending)
    )
    assert any("M1" in warning and "array_agg" in warning for warning in report.warnings)
    assert await run(platform_before, f"select to_regclass('{SERIALS}')") == [(None,)]

    await run(platform_before, "update devices set serial_number = null where name = 'copy'")
    assert [name for name in (await migrate(platform_before)).applied if SERIALS in name]
    assert await run(platform_before, f"select to_regclass('{SERIALS}') is not null") == [(True,)]


async def test_an_index_that_a_crash_left_invalid_is_built_again(database: str) -> None:
    invalid = "update pg_index set indisvalid = false where indexrelid = 'devices_cohort_id_idx'::regclass"
    await run(database, invalid)
    assert [name for name in (await migrate(database)).rebuilt if "cohort" in name]
    valid = "select indisvalid from pg_index where indexrelid = 'devices_cohort_id_idx'::regclass"
    assert await run(database, valid) == [(True,)]


async def test_a_database_that_is_not_there_is_away() -> None:
    with pytest.raises(DatabaseAway):
        await migrate(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")


async def test_a_wrong_database_name_is_for_a_person_to_correct(empty_database: str) -> None:
    with pytest.raises(Misconfigured, match="nowhere"):
        await migrate(empty_database.rpartition("/")[0] + "/nowhere")


def test_every_migration_is_found_in_order_and_sums_do_not_depend_on_line_ends(tmp_path: Path) -> None:
    names = [file.name for file in discover()]
    assert names == sorted(names)
    copy = tmp_path / names[0]
    copy.write_bytes((MIGRATIONS / names[0]).read_bytes().replace(b"\n", b"\r\n"))
    assert discover(tmp_path)[0].sha256 == discover()[0].sha256
