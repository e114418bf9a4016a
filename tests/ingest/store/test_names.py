"""Our SQL means what it says whatever stands in the search path, and leaves the path to the platform's triggers."""

import ast
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence, Reading
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from tests.ingest.store.world import DEVICE, World
from tests.strategies import INTEGRATION, START

ROOT = Path(__file__).parents[3]
SYNTAX = frozenset(
    [
        "coalesce",
        "greatest",
        "least",
        "nullif",
        "exists",
        "row",
        "array",
        "extract",
        "substring",
        "position",
        "overlay",
        "trim",
        "interval",
        "numeric",
        "varchar",
        "char",
        "bit",
        "time",
        "timestamp",
        "timestamptz",
        "left",
        "right",
        "values",
    ]
)
"""Words before a parenthesis that are syntax and not functions."""
BEHIND_A_NAME = re.compile(r"\b(as|into|with|function|table|index|constraint|trigger)$")
HOSTILE = """
create function public.unnest(uuid[]) returns setof uuid language plpgsql as $$ begin raise 'hijacked'; end $$;
create function public.unnest(rollcall.said[]) returns setof rollcall.said language plpgsql as $$ begin
    raise 'hijacked'; end $$;
create function public.cardinality(uuid[]) returns int language plpgsql as $$ begin raise 'hijacked'; end $$;
create function public.array_agg(uuid) returns uuid[] language plpgsql as $$ begin raise 'hijacked'; end $$;
create function public.hashtextextended(text, int) returns bigint language plpgsql as $$ begin raise 'hijacked'; end $$;
create function public.upper(int8multirange) returns bigint language plpgsql as $$ begin raise 'hijacked'; end $$
"""


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        made = World(pool)
        await made.reset(START + 5000 * SECOND)
        yield made


def said(second: int, presence: Presence = Presence.ONLINE) -> Observation:
    at = START + second * SECOND
    return Observation(
        INTEGRATION, DeviceKey("d"), at, at, at, presence=presence, battery_level=second % 100,
        firmware=(("main", f"v{second}"),), readings=(Reading("t", 1.0),),
    )  # fmt: skip


async def everything(world: World) -> None:
    """Let every kind of our statements about devices run."""
    for second, presence in ((0, Presence.ONLINE), (2000, Presence.ONLINE), (1900, Presence.OFFLINE)):
        await world.apply([said(second, presence)])
    await world.sweep()
    keys = [DeviceKey("d"), DeviceKey("new", "SN", ("aa",))]
    await Identities(world.pool).resolve(world.integration, keys, UnknownPolicy())
    await world.pool.execute(
        "insert into public.device_firmware_history (device_id, firmware_version, installed_at) values ($1, "
        "'v9', now())",
        DEVICE,
    )


async def test_functions_of_others_in_the_search_path_never_run_in_our_place(world: World) -> None:
    await world.pool.execute(HOSTILE)
    await everything(world)
    assert (await world.rows())["status"] == "offline"


async def test_an_unqualified_trigger_of_the_platform_works_below_every_write_of_ours(world: World) -> None:
    await world.pool.execute(
        """create table public.audit (device uuid, what text);
        create function public.note_it(device uuid, what text) returns void language sql as $$
            insert into audit values (device, what) $$;
        create function public.audited() returns trigger language plpgsql as $$ begin
            perform note_it(new.id, tg_op);
            return new;
        end $$;
        create trigger audited after insert or update on public.devices for each row execute function audited()"""
    )
    await everything(world)
    counts = dict(await world.pool.fetch("select what, count(*) from audit group by 1"))
    assert counts["INSERT"] == 1
    assert counts["UPDATE"] >= 4
    version = "select firmware_version from public.devices where id = $1"
    assert await world.pool.fetchval(version, DEVICE) == "v9"


async def test_no_function_of_ours_that_writes_a_table_of_the_platform_sets_the_search_path(
    world: World,
) -> None:
    rows = await world.pool.fetch(
        "select p.oid::regprocedure::text as name, p.prosrc from pg_proc p "
        "where p.pronamespace = 'rollcall'::regnamespace"
        " and exists (select from unnest(p.proconfig) as c where c like 'search_path=%')"
    )
    writers = [
        row["name"] for row in rows if re.search(r"(update|insert into|delete from) public\.", row["prosrc"])
    ]
    assert writers == []


async def test_every_call_of_a_built_in_function_is_qualified(world: World) -> None:
    """Also of those that are polymorphic, for which a function of the very type in the search path wins."""
    rows = await world.pool.fetch(
        "select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
    )
    built_in = {row["proname"] for row in rows} - SYNTAX
    bodies = await world.pool.fetch(
        "select oid::regprocedure::text, prosrc from pg_proc where pronamespace = 'rollcall'::regnamespace "
        "and prosqlbody is null"
    )
    files = [path for folder in ("functions", "queries") for path in (ROOT / "schema" / folder).glob("*.sql")]
    assert files
    sources = {**dict(bodies), **{path.name: path.read_text() for path in files}, **dict(statements())}
    found = [f"{name}: {call}" for name, text in sources.items() for call in unqualified(text, built_in)]
    assert found == []


def unqualified(text: str, built_in: set[str]) -> Iterator[str]:
    text = re.sub(r"--.*|'[^']*'", "", text)
    for call in re.finditer(r'(?<![\w."$%{])([a-z_][a-z0-9_]*)\(', text):
        if call[1] in built_in and not BEHIND_A_NAME.search(text[: call.start()].rstrip()):
            yield call[1]


def statements() -> Iterator[tuple[str, str]]:
    """Yield the SQL that stands in Python, by its file and line."""
    for path in sorted((ROOT / "ingest").rglob("*.py")):
        if path.name == "snapshot.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.search(
                r"\b(select|insert into|update|delete from)\b[^.]*\b\w+\.\w+", text
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text
