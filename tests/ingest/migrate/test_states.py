"""Whatever the migrations find, they leave the same extension and take nothing away."""

from typing import Any

import asyncpg
import pytest

from ingest.migrate import migrate, status
from tests.ingest.migrate.platforms import BEFORE, CREATED, WHOLE, build

BASE = {"organizations", "device_integrations", "locations", "departments", "devices"}
NAMED = {
    "devices": "last_seen_online last_seen_offline hardware_ids cohort_id golioth_status",
    "device_integrations": "webhook_enabled webhook_secret",
    "device_firmware_history": "device_id firmware_version component_type installed_at source metadata created_at",
    "firmware_artifacts": "organization_id integration_id external_artifact_id package_name version component_type"
    " size_bytes checksum_sha256 release_date metadata created_at updated_at",
    "device_credentials": "device_id credential_type identity encrypted_secret created_at expires_at"
    " last_accessed_at last_accessed_by",
    "device_credential_access_log": "credential_id accessed_by accessed_at ip_address user_agent",
    "sync_conflicts": "device_id field_name local_value remote_value conflict_detected_at resolution_strategy"
    " resolved_at resolved_by resolution_notes",
}
CATALOG = """
select 'column', attrelid::regclass::text || '.' || attname,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
from pg_attribute a join pg_class c on c.oid = attrelid and c.relkind = 'r'
left join pg_attrdef d on adrelid = attrelid and adnum = attnum
where relnamespace = 'public'::regnamespace and attnum > 0
union all
select 'table', oid::regclass::text, concat_ws(' ', relrowsecurity, reloptions, relacl)
from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
union all
select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
from pg_index join pg_class c on c.oid = indrelid where relnamespace = 'public'::regnamespace
union all
select 'constraint', conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'public'::regnamespace and contype <> 'n'
union all
select 'trigger', tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all
select 'policy', polname, pg_get_expr(polqual, polrelid) from pg_policy
union all
select 'function', oid::regprocedure::text, prosecdef::text
from pg_proc where pronamespace = 'public'::regnamespace
"""


async def catalog(connection: asyncpg.Connection) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in await connection.fetch(CATALOG)}


async def columns(connection: asyncpg.Connection, table: str) -> set[str]:
    rows = await connection.fetch(
        "select attname from pg_attribute where attrelid = $1::regclass", f"public.{table}"
    )
    return {row["attname"] for row in rows}


async def secured(connection: asyncpg.Connection) -> set[str]:
    query = "select relname from pg_class where relrowsecurity and relnamespace = 'public'::regnamespace"
    return {row["relname"] for row in await connection.fetch(query)}


async def test_an_empty_database_gets_every_table_and_column(
    empty_database: str, empty: asyncpg.Connection
) -> None:
    report = await migrate(empty_database)
    assert (report.skipped, report.warnings) == ((), ())
    for table, names in NAMED.items():
        assert set(names.split()) <= await columns(empty, table)
    assert {s.state for s in await status(empty_database)} == {"applied"}


async def test_no_index_of_an_empty_database_covers_what_messages_update(
    empty_database: str, empty: asyncpg.Connection
) -> None:
    await migrate(empty_database)
    rows = await empty.fetch(
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'devices'::regclass"
    )
    moving = (
        "status",
        "last_seen",
        "battery_level",
        "signal_strength",
        "firmware_version",
        "updated_at",
        "metadata",
    )
    assert not [row[0] for row in rows if any(column in row[0] for column in moving)]
    assert await empty.fetchval("select reloptions from pg_class where relname = 'devices'") == [
        "fillfactor=70"
    ]


@pytest.mark.parametrize("older", range(WHOLE + 1))
async def test_the_platform_is_extended_and_loses_nothing(
    older: int, empty_database: str, empty: asyncpg.Connection
) -> None:
    await build(empty_database, older)
    before = await catalog(empty)
    rows = await empty.fetch("select * from devices order by id")
    old = list(rows[0].keys())
    report = await migrate(empty_database)
    assert (report.skipped, report.warnings) == ((), ())
    assert before <= await catalog(empty)
    for table, names in NAMED.items():
        assert set(names.split()) <= await columns(empty, table)
    after = await empty.fetch("select * from devices order by id")
    assert [{name: row[name] for name in old} for row in after] == [dict(row) for row in rows]


@pytest.mark.parametrize("older", [None, BEFORE, 3, WHOLE])
async def test_a_second_run_does_nothing(
    older: int | None, empty_database: str, empty: asyncpg.Connection
) -> None:
    if older is not None:
        await build(empty_database, older)
    await migrate(empty_database)
    before = await catalog(empty)
    report = await migrate(empty_database)
    assert (report.applied, report.skipped, report.rebuilt, report.warnings) == ((), (), (), ())
    assert await catalog(empty) == before


@pytest.mark.parametrize("older", [BEFORE, 2, WHOLE])
async def test_a_new_column_of_an_existing_table_is_null_and_has_no_default(
    older: int, empty_database: str, empty: asyncpg.Connection
) -> None:
    await build(empty_database, older)
    before = await catalog(empty)
    existing = {name for kind, name, _ in before if kind == "table"}
    await migrate(empty_database)
    new = [
        row
        for row in await catalog(empty) - before
        if row[0] == "column" and row[1].split(".")[0] in existing
    ]
    assert [row for row in new if not row[2].endswith(" f")] == []


async def test_row_security_is_enabled_on_every_table_of_an_empty_database(
    empty_database: str, empty: asyncpg.Connection
) -> None:
    await migrate(empty_database)
    assert await secured(empty) == BASE | CREATED


@pytest.mark.parametrize("older", [BEFORE, 2, WHOLE])
async def test_row_security_is_enabled_only_on_tables_that_were_created(
    older: int, empty_database: str, empty: asyncpg.Connection
) -> None:
    await build(empty_database, older)
    existing = {row[1] for row in await catalog(empty) if row[0] == "table"}
    await migrate(empty_database)
    assert await secured(empty) == {"devices"} | (CREATED - existing)


async def test_the_platforms_web_roles_cannot_touch_a_created_table(
    empty_database: str, empty: asyncpg.Connection
) -> None:
    await build(empty_database, BEFORE)
    await migrate(empty_database)
    granted = await empty.fetch(
        "select r, t from unnest(array['anon', 'authenticated']) r, unnest($1::text[]) t"
        " where has_table_privilege(r, 'public.' || t, 'select, insert, update, delete, truncate')",
        list(CREATED),
    )
    assert granted == []
    assert await empty.fetchval("select has_table_privilege('authenticated', 'public.devices', 'select')")


@pytest.mark.parametrize("older", [None, BEFORE])
async def test_credentials_reference_users_only_where_there_are_users(
    older: int | None, empty_database: str, empty: asyncpg.Connection
) -> None:
    if older is not None:
        await build(empty_database, older)
    await migrate(empty_database)
    query = "select conrelid::regclass::text from pg_constraint where confrelid = to_regclass('auth.users') order by 1"
    found = [row[0] for row in await empty.fetch(query)]
    there = ["device_credential_access_log", "device_credentials", "sync_conflicts"]
    assert found == ([] if older is None else there)


async def test_an_index_that_the_platform_has_under_another_name_is_not_doubled(
    empty_database: str, empty: asyncpg.Connection
) -> None:
    await build(empty_database, WHOLE)
    before = {row for row in await catalog(empty) if row[0] == "index"}
    await migrate(empty_database)
    added = {row[1] for row in await catalog(empty) if row[0] == "index"} - {row[1] for row in before}
    assert added == {
        "device_credential_access_log_credential_id_idx",
        "devices_integration_id_external_device_id_idx",
    }
