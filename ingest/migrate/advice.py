"""Advice after a migration: what it leaves as it is and what that costs, for a person to decide."""

import asyncpg

from ingest.migrate.session import connected

_COSTLY_INDEXES = """
select i.indexrelid::regclass::text as name,
    pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(i.indexrelid)) as size,
    coalesce(s.idx_scan, 0) as used, pg_catalog.string_agg(a.attname, ', ' order by a.attname) as moving
from pg_catalog.pg_index i
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) and a.attname in (
    'status', 'last_seen', 'last_seen_online', 'last_seen_offline', 'battery_level', 'signal_strength',
    'firmware_version', 'updated_at')
left join pg_catalog.pg_stat_user_indexes s on s.indexrelid = i.indexrelid
where i.indrelid = 'public.devices'::regclass
group by i.indexrelid, s.idx_scan order by 1
"""
_FULL_PAGES = """
select pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(oid)) from pg_catalog.pg_class
where oid = 'public.devices'::regclass and coalesce(
    (select option_value::int from pg_catalog.pg_options_to_table(reloptions)
        where option_name = 'fillfactor'), 100) > 90
"""
_INVALID_INDEXES = """
select i.indexrelid::regclass::text as name from pg_catalog.pg_index i join pg_catalog.pg_class c
    on c.oid = i.indexrelid
where not i.indisvalid and c.relnamespace in ('public'::regnamespace, 'rollcall'::regnamespace) order by 1
"""
_UNCHECKED = """
select conrelid::regclass::text as target, conname from pg_catalog.pg_constraint
where not convalidated and connamespace = 'public'::regnamespace order by 1, 2
"""
_FOREIGN_TRIGGER = """
select p.oid::regprocedure::text from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
where t.tgrelid = 'public.device_firmware_history'::regclass and t.tgname = 'trg_update_firmware_version'
    and p.prosrc <> (select prosrc from pg_catalog.pg_proc
        where oid = pg_catalog.to_regprocedure('rollcall.copy_firmware_version()'))
"""


async def advice(dsn: str) -> list[str]:
    """Return what a person may want to change in a migrated database, one sentence each, with the statement.

    Raises: MigrationRefused and Misconfigured (a person must change something first), DatabaseAway (try again).
    """
    async with connected(dsn) as connection:
        if not await connection.fetchval("select pg_catalog.to_regclass('rollcall.migrations') is not null"):
            return []
        return [
            *[_costly(row) for row in await connection.fetch(_COSTLY_INDEXES)],
            *[
                f"devices ({row[0]}) fills its pages, so that updates move rows to other pages and to every index: "
                "alter table public.devices set (fillfactor = 70)"
                for row in await connection.fetch(_FULL_PAGES)
            ],
            *[
                f"{row['name']} is invalid and costs without being used: reindex index concurrently {row['name']}"
                for row in await connection.fetch(_INVALID_INDEXES)
            ],
            *[
                f"{row['conname']} of {row['target']} has not been checked against old rows: "
                f"alter table {row['target']} validate constraint {row['conname']}"
                for row in await connection.fetch(_UNCHECKED)
            ],
            *[
                f"trg_update_firmware_version calls another {row[0]} than the migrations left, and late rows may put "
                "an old version back: select rollcall.adopt_firmware_trigger()"
                for row in await connection.fetch(_FOREIGN_TRIGGER)
            ],
        ]


def _costly(row: asyncpg.Record) -> str:
    return (
        f"{row['name']} ({row['size']}, used {row['used']} times) covers {row['moving']}, which messages update: no "
        f"such update is HOT. Where no query needs it: drop index concurrently {row['name']}"
    )
