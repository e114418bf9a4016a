"""The platform goes on: its readers, its writers, its trigger and its rights."""

from typing import Any

import asyncpg
import pytest

from ingest.migrate import migrate
from tests.ingest.migrate.platforms import BEFORE, FOLDER, ORGANIZATION, PUMP, WHOLE, build

AS_MEMBER = (f"select set_config('app.organization', '{ORGANIZATION}', false)", "set role authenticated")

OLD_READS = """select id, organization_id, integration_id, external_device_id, name, device_type, model, serial_number,
    status, last_seen, battery_level, signal_strength, firmware_version, location_id, department_id, metadata,
    created_at, updated_at from devices order by id"""
OLD_WRITES = (
    f"""insert into devices (organization_id, name, device_type, serial_number)
    values ('{ORGANIZATION}', 'New', 'meter', 'M9')""",
    "update devices set name = name || '!', status = 'online', battery_level = 50 where organization_id is not null",
)


async def run(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in one session and return the rows of the last."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def test_old_readers_read_the_same_rows_before_and_after(platform: str) -> None:
    before = await run(platform, *AS_MEMBER, OLD_READS)
    assert len(before) == 2
    await migrate(platform)
    assert await run(platform, *AS_MEMBER, OLD_READS) == before


async def test_old_writers_write_as_before(platform: str) -> None:
    await migrate(platform)
    await run(platform, *AS_MEMBER, *OLD_WRITES)
    names = await run(platform, "select name, status from devices order by 1")
    assert names == [("New!", "online"), ("Pump!", "online"), ("Valve!", "online")]


async def test_the_owner_that_is_no_superuser_migrates_and_works(empty_database: str) -> None:
    await run(
        empty_database,
        "drop role if exists rollcall_owner",
        "create role rollcall_owner login",
        "grant all on schema public to rollcall_owner",
        f"grant create on database {empty_database.rpartition('/')[2]} to rollcall_owner",
    )
    owner = empty_database.replace("postgres@", "rollcall_owner@")
    try:
        await migrate(owner)
        await run(
            owner, f"insert into organizations (id, name, slug) values ('{ORGANIZATION}', 'Acme', 'acme')"
        )
        await run(owner, *OLD_WRITES)
        assert await run(owner, "select name from devices") == [("New!",)]
    finally:
        await run(empty_database, "drop owned by rollcall_owner cascade", "drop role rollcall_owner")


async def test_rows_that_break_a_check_stay_writable_and_a_warning_says_the_repair(
    empty_database: str,
) -> None:
    await build(empty_database, BEFORE)
    await run(empty_database, *(FOLDER / "by_hand.sql").read_text().split(";"))
    report = await migrate(empty_database)
    assert any("devices_golioth_status_check" in w and "alter table" in w for w in report.warnings)
    await run(empty_database, "update devices set battery_level = 7 where name = 'Pump'")
    assert await run(empty_database, "select battery_level from devices where name = 'Pump'") == [(7,)]


async def test_the_checks_hold_for_what_is_written_from_now_on(platform_before: str) -> None:
    await migrate(platform_before)
    with pytest.raises(asyncpg.CheckViolationError):
        await run(platform_before, "update devices set golioth_status = 'paused'")


def installed(version: str, at: str, component: str = "null") -> str:
    return f"""insert into device_firmware_history (device_id, firmware_version, component_type, installed_at)
        values ('{PUMP}', '{version}', {component}, '{at}')"""


async def test_a_newer_version_that_an_old_writer_inserts_is_copied_and_an_older_one_is_not(
    platform: str,
) -> None:
    await migrate(platform)
    version = f"select firmware_version from devices where id = '{PUMP}'"
    assert await run(platform, installed("2.0.0", "2026-02-02Z"), version) == [("2.0.0",)]
    assert await run(platform, installed("1.5.0", "2026-02-01Z"), version) == [("2.0.0",)]
    assert await run(platform, installed("9.9.9", "2026-02-04Z", "'modsensor'"), version) == [("2.0.0",)]
    assert await run(platform, installed("2.1.0", "2026-02-03Z", "'main'"), version) == [("2.1.0",)]


async def test_the_old_trigger_keeps_its_function_and_whose_rights_it_runs_with(empty_database: str) -> None:
    await build(empty_database, WHOLE)
    await migrate(empty_database)
    called = """select p.proname, p.prosecdef from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgname = 'trg_update_firmware_version'"""
    assert await run(empty_database, called) == [("update_device_firmware", True)]


async def test_the_trigger_leaves_the_column_to_our_own_apply(platform: str) -> None:
    await migrate(platform)
    version = f"select firmware_version from devices where id = '{PUMP}'"
    applying = "select set_config('rollcall.applying', 'on', false)"
    assert await run(platform, applying, installed("3.0.0", "2026-03-01Z"), version) == [("1.0.0",)]


async def test_old_secrets_stay_readable_by_the_old_function(empty_database: str) -> None:
    await build(empty_database, WHOLE)
    await migrate(empty_database)
    secret = "select decrypt_device_credential(id) from device_credentials"
    assert await run(empty_database, secret) == [("hunter2",)]
