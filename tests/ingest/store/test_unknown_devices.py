"""Ids without a row once there is no room for another one: who is turned away, and who never is."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from handlers.events import DeviceKey
from handlers.evidence import Evidence
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import FULL_FOR_S, Identities
from ingest.store.commit.parking import Parking
from ingest.store.commit.unknown_devices import UnknownDeviceFilter
from tests.waiting import until

OURS = UUID(int=1)
CAPS = UnknownPolicy("create", max_total=1, max_parked=1)
MADE, PARKED, INVENTED, NUMBERED = (
    DeviceKey("made"),
    DeviceKey("parked"),
    DeviceKey("invented"),
    DeviceKey("numbered", "S"),
)
ROW = """insert into devices (organization_id, integration_id, external_device_id, name, device_type)
    select organization_id, id, $1, 'x', 'x' from device_integrations"""


class Door:
    """What the committer has for ids that it does not know."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.identities = Identities(pool)
        self.applier = Applier(pool)
        self.parking = Parking(pool, self.identities, self.applier)
        self.unknown_devices = UnknownDeviceFilter(pool, self.identities, self.parking)

    async def meet(self, *keys: DeviceKey) -> None:
        """Create and park as the caps allow."""
        found = await self.identities.resolve(OURS, keys, CAPS)
        batch = Batch()
        said = {key: Evidence() for key in keys if key not in found}
        await self.parking.add(OURS, CAPS, said, batch)
        await self.applier.commit(batch)

    async def unknown_keys(self, *keys: DeviceKey, policy: UnknownPolicy = CAPS) -> set[DeviceKey]:
        return await self.unknown_devices.unknown_keys(OURS, policy, keys)


@pytest.fixture
async def door(database: str) -> AsyncIterator[Door]:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        await pool.execute(
            "with o as (insert into organizations (name, slug) values ('o', 'o') returning id)"
            " insert into device_integrations (id, organization_id, integration_type, name)"
            " select $1, id, 'mqtt', 'm' from o",
            OURS,
        )
        yield Door(pool)


async def test_nobody_is_turned_away_while_a_row_or_a_parked_one_may_be_made(door: Door):
    assert await door.unknown_keys(INVENTED) == set()
    await door.meet(MADE)
    await door.meet(PARKED)
    assert await door.unknown_keys(INVENTED) == set(), "that there is no room was not seen yet"


async def test_without_room_those_are_turned_away_whom_no_row_no_binding_and_no_parked_one_names(door: Door):
    for key in (MADE, PARKED, DeviceKey("one more")):
        await door.meet(key)
    assert await door.unknown_keys(MADE, PARKED, INVENTED, NUMBERED) == {INVENTED}
    await door.pool.execute("delete from rollcall.device_identity")
    assert await door.unknown_keys(MADE, PARKED) == set(), "a row that is not bound yet is somebody"


async def test_a_row_that_appears_is_known_at_once_also_without_room(door: Door):
    for key in (MADE, PARKED, INVENTED):
        await door.meet(key)
    assert await door.unknown_keys(INVENTED) == {INVENTED}
    await door.pool.execute(ROW, "invented")
    assert await door.unknown_keys(INVENTED) == set()


async def test_room_that_appears_is_seen_within_the_time_that_its_lack_is_remembered(door: Door):
    for key in (MADE, PARKED, INVENTED):
        await door.meet(key)
    assert await door.unknown_keys(INVENTED) == {INVENTED}
    await door.pool.execute("delete from rollcall.parked_devices")

    async def let_in() -> bool:
        return not await door.unknown_keys(INVENTED)

    await until(let_in, FULL_FOR_S + 5, "ids are let in again")
    await door.meet(INVENTED)
    assert await door.pool.fetchval("select external_device_id from rollcall.parked_devices") == "invented"


async def test_where_unknown_devices_are_ignored_only_those_with_a_row_are_let_in(door: Door):
    await door.pool.execute(ROW, "made")
    assert await door.unknown_keys(MADE, INVENTED, policy=UnknownPolicy("ignore")) == {INVENTED}


async def test_a_flood_leaves_nothing_in_memory(door: Door):
    for key in (MADE, PARKED, INVENTED):
        await door.meet(key)
    many = [DeviceKey(f"x{n}") for n in range(5_000)]
    assert await door.unknown_keys(*many) == set(many)
    assert door.identities.of(OURS).keys() == {MADE}
