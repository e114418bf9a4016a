"""The platform's tables, compared with what Rollcall needs of them: named before anything is changed or served."""

import contextlib

import asyncpg

from ingest.errors import MigrationRefused
from ingest.migrate.session import connected, named_failures, open_session, refuse_shared_sessions

TEXT = ("text", "character varying")
WHEN = ("timestamp with time zone",)
COLUMNS = {
    "organizations": {"id": ("uuid",), "name": TEXT, "slug": TEXT},
    "device_integrations": {
        "id": ("uuid",), "organization_id": ("uuid",), "integration_type": TEXT, "name": TEXT,
        "api_key_encrypted": TEXT, "project_id": TEXT, "base_url": TEXT, "settings": ("jsonb",), "status": TEXT,
        "webhook_enabled": ("boolean",), "webhook_secret": TEXT, "created_at": WHEN, "updated_at": WHEN,
    },
    "devices": {
        "id": ("uuid",), "organization_id": ("uuid",), "integration_id": ("uuid",), "external_device_id": TEXT,
        "name": TEXT, "device_type": TEXT, "model": TEXT, "serial_number": TEXT, "status": ("public.device_status",),
        "last_seen": WHEN, "battery_level": ("integer",), "signal_strength": ("integer",), "firmware_version": TEXT,
        "metadata": ("jsonb",), "created_at": WHEN, "updated_at": WHEN, "last_seen_online": WHEN,
        "last_seen_offline": WHEN, "hardware_ids": ("text[]", "character varying[]"), "cohort_id": TEXT,
        "golioth_status": TEXT,
    },
    "device_firmware_history": {
        "id": ("uuid",), "device_id": ("uuid",), "firmware_version": TEXT, "component_type": TEXT,
        "installed_at": WHEN, "source": TEXT, "metadata": ("jsonb",),
    },
}  # fmt: skip
"""Types by column. A column that is not there is made by a migration, or its absence is named by one."""
STATUSES = ("offline", "online")
_TYPES = """
select c.relname as table, a.attname as column, pg_catalog.format_type(t.oid, null) as type, n.nspname as schema,
    t.typname as name, t.typtype = 'e' as is_enum
from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
    join pg_catalog.pg_type t on t.oid = a.atttypid join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where c.relnamespace = pg_catalog.to_regnamespace('public') and c.relname = any ($1) and a.attnum > 0
    and not a.attisdropped
order by c.relname, a.attnum"""
_LABELS = """
select pg_catalog.array_agg(enumlabel::text order by enumlabel) from pg_catalog.pg_enum
where enumtypid = pg_catalog.to_regtype('public.device_status')"""
_SIGHT = """
select current_user as role, pg_catalog.has_schema_privilege('public', 'usage')
        and pg_catalog.has_table_privilege(c.oid, 'select') as may_read,
    pg_catalog.row_security_active(c.oid) as is_filtered, c.reltuples > 0 as has_rows,
    exists (
        select from pg_catalog.pg_policy p where p.polrelid = c.oid and p.polcmd in ('r', '*') and p.polpermissive
            and (0 = any (p.polroles) or exists (
                select from pg_catalog.unnest(p.polroles) as r where r <> 0
                    and pg_catalog.pg_has_role(r, 'usage')))) as has_policy
from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass('public.devices')"""

_IS_MIGRATED = """
select exists (
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'rollcall' and c.relname = 'migrations')"""


async def check_start(database_url: str, direct_url: str) -> None:
    """Check, before the service starts, that its sessions are its own and that its role can use the tables.

    Raises: MigrationRefused, Misconfigured, DatabaseAway.
    """
    async with connected(direct_url) as connection:
        await refuse_shared_sessions(connection, direct_url)
    with named_failures():
        connection = await open_session(database_url)  # perhaps a pooler's, in which nothing may be set
        try:
            await refuse_unusable(connection)
            if not await connection.fetchval(_IS_MIGRATED):
                raise MigrationRefused("the database is not migrated: run `rollcall migrate`")
        finally:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)


async def refuse_unusable(connection: asyncpg.Connection) -> None:
    """Refuse tables of the platform that cannot be used, all reasons at once. A table that is not there is none.

    Raises: MigrationRefused.
    """
    problems = [*await _unseen(connection), *await _other_types(connection)]
    if problems:
        raise MigrationRefused("the platform's tables cannot be used: " + "; ".join(problems))


async def _unseen(connection: asyncpg.Connection) -> list[str]:
    sight = await connection.fetchrow(_SIGHT)
    if sight is None:
        return []
    if not sight["may_read"]:
        return [
            f"the role {sight['role']} may not read public.devices: grant it, or migrate as the owner of the tables"
        ]
    if not sight["is_filtered"]:
        return []
    hidden = sight["has_rows"] and not await connection.fetchval("select exists (select from public.devices)")
    if hidden or not sight["has_policy"]:
        return [
            f"row level security hides public.devices from the role {sight['role']}: use the tables' owner, a role with"
            " BYPASSRLS, or a policy that lets it see every row"
        ]
    return []


async def _other_types(connection: asyncpg.Connection) -> list[str]:
    problems = []
    for row in await connection.fetch(_TYPES, list(COLUMNS)):
        wanted = COLUMNS[row["table"]].get(row["column"])
        found = f"{row['schema']}.{row['name']}" if row["is_enum"] else row["type"]
        if wanted is not None and found not in wanted:
            problems.append(f"{row['table']}.{row['column']} is {found} and must be {wanted[0]}")
    labels = await connection.fetchval(_LABELS)
    if labels is not None and (missing := sorted(set(STATUSES) - set(labels))):
        problems.append(f"the type public.device_status has no {', '.join(missing)}")
    return problems
