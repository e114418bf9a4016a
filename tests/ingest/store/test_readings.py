"""The newest value of each reading, and how many of them a device may have."""

import asyncpg

from handlers.events import DeviceKey, Observation, Reading
from tests.ingest.store.world import World
from tests.strategies import INTEGRATION, START


def said(at: int, *names: str) -> Observation:
    readings = tuple(Reading(name, float(at)) for name in names)
    return Observation(INTEGRATION, DeviceKey("d"), START + at, START + at, START + at, readings=readings)


async def test_a_device_has_no_more_readings_than_it_may_however_many_a_batch_brings(database: str) -> None:
    names = [f"{number}-{side}" for number in range(100) for side in "ab"]
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        world = World(pool)
        await world.reset()
        await world.apply([said(0, "first")])
        await world.apply([said(1 + place, "first", name) for place, name in enumerate(names)])
        await world.apply([said(500, "first", "0-a", "one more")])
        found = {name: value for name, value, _, _ in (await world.rows())["readings"]}
    assert set(found) == {"first", *names[:63]}
    assert found["first"] == found["0-a"] == 500
