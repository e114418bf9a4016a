"""The row that a key means: bound ids, then external ids, serial numbers and hardware ids of the platform's rows."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from handlers.events import DeviceKey
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities

OURS, THEIRS = UUID(int=1), UUID(int=2)
CREATE, IGNORE = UnknownPolicy(), UnknownPolicy("ignore")
EVENTS = "select count(*) from rollcall.device_events where kind = $1"


@pytest.fixture
async def pool(database: str):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=4)
    for integration, slug in ((OURS, "ours"), (THEIRS, "theirs")):
        await pool.execute(
            "with o as (insert into organizations (name, slug) values ($2, $2) returning id)"
            " insert into device_integrations (id, organization_id, integration_type, name)"
            " select $1, id, 'mqtt', 'm' from o",
            integration,
            slug,
        )
    yield pool
    await pool.close()


async def add(pool, integration=OURS, external=None, serial=None, hardware=None) -> UUID:
    return await pool.fetchval(
        "insert into devices (organization_id, integration_id, external_device_id, serial_number, hardware_ids, name,"
        " device_type) select organization_id, $1, $2, $3, $4, 'x', 'x' from device_integrations where id = $1"
        " returning id",
        integration,
        external,
        serial,
        hardware,
    )


async def resolve(pool, *keys: DeviceKey, policy: UnknownPolicy = IGNORE) -> list[UUID | None]:
    found = await Identities(pool).resolve(OURS, keys, policy)
    return [found.get(key) for key in keys]


async def test_a_bound_id_decides_whatever_else_the_event_names(pool):
    bound, other = await add(pool, external="d1"), await add(pool, serial="S")
    assert await resolve(pool, DeviceKey("d1")) == [bound]
    assert await resolve(pool, DeviceKey("d1", "S")) == [bound]
    assert await resolve(pool, DeviceKey(None, "S")) == [other]


async def test_a_serial_number_and_then_a_hardware_id_find_the_row_and_the_external_id_is_bound_to_it(pool):
    serial, hardware = await add(pool, serial="S"), await add(pool, hardware=["a", "b"])
    assert await resolve(pool, DeviceKey("d1", "S"), DeviceKey("d2", None, ("b",))) == [serial, hardware]
    assert await resolve(pool, DeviceKey("d1"), DeviceKey("d2")) == [serial, hardware]


async def test_keys_that_name_different_rows_are_a_conflict_and_mean_none_of_them(pool):
    await add(pool, external="d1"), await add(pool, serial="S")
    assert await resolve(pool, DeviceKey("d1", "S"), policy=CREATE) == [None]
    assert await pool.fetchval(EVENTS, "conflict") == 2
    assert await pool.fetchval("select count(*) from devices") == 2


async def test_of_existing_duplicates_the_oldest_is_bound_and_the_others_are_reported(pool):
    oldest = await add(pool, external="d1")
    younger = await add(pool, external="d1")
    assert await resolve(pool, DeviceKey("d1")) == [oldest]
    assert (
        await pool.fetchval("select subject from rollcall.device_events where kind = 'conflict'") == younger
    )


async def test_a_row_of_another_organization_is_never_meant_and_its_serial_number_is_left_out(pool):
    theirs = await add(pool, THEIRS, external="d1", serial="S", hardware=["a"])
    (mine,) = await resolve(pool, DeviceKey("d1", "S", ("a",)), policy=CREATE)
    assert mine not in (None, theirs)
    row = await pool.fetchrow("select serial_number, hardware_ids, name from devices where id = $1", mine)
    assert tuple(row) == (None, ["a"], "d1")
    assert await pool.fetchval(EVENTS, "conflict") == 1


async def test_two_new_keys_with_one_serial_number_make_one_row(pool):
    first, second = await resolve(pool, DeviceKey("d1", "S"), DeviceKey("d2", "S"), policy=CREATE)
    assert first == second is not None
    assert await pool.fetchval("select count(*) from devices") == 1


async def test_a_device_that_is_known_by_its_serial_number_alone_is_made_once(pool):
    (made,) = await resolve(pool, DeviceKey(None, "S"), policy=CREATE)
    assert await resolve(pool, DeviceKey(None, "S"), policy=CREATE) == [made]
    assert await pool.fetchval("select name from devices") == "S"


async def test_many_writers_that_meet_the_same_devices_make_each_once(pool):
    keys = [DeviceKey(f"d{n}", f"S{n}") for n in range(50)]
    found = await asyncio.gather(*(Identities(pool).resolve(OURS, keys, CREATE) for _ in range(4)))
    assert all(one == found[0] for one in found)
    assert await pool.fetchval("select count(*) from devices") == 50


async def test_no_more_are_made_than_the_caps_allow(pool):
    keys = [DeviceKey(f"d{n}") for n in range(5)]
    found = await Identities(pool).resolve(OURS, keys, UnknownPolicy(max_per_minute=3))
    assert len(found) == 3
    assert len(await Identities(pool).resolve(OURS, keys, UnknownPolicy(max_total=4))) == 4
