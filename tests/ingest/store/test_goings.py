"""That a device went is told once, however often it said so and however that was cut into batches."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from tests.ingest.store.world import World
from tests.strategies import INTEGRATION, START

GOINGS = (
    "select kind from rollcall.device_events where retracted_at is null and kind in ('online', 'offline')"
    " order by at"
)
WENT = (
    "select (extract(epoch from at) * 1000000)::bigint from rollcall.device_events where kind = 'offline'"
    " order by at"
)


def said(second: int, presence: Presence) -> Observation:
    at = START + second * SECOND
    return Observation(INTEGRATION, DeviceKey("d"), at, at, at, presence=presence)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        made = World(pool)
        await made.reset()
        await made.apply([said(0, Presence.ONLINE)])
        yield made


OFFLINES = [said(10, Presence.OFFLINE), said(20, Presence.OFFLINE)]


@pytest.mark.parametrize(
    "batches", [[OFFLINES], [OFFLINES[:1], OFFLINES[1:]]], ids=["one batch", "two batches"]
)
async def test_a_device_that_says_twice_that_it_goes_went_the_first_time(
    world: World, batches: list[list[Observation]]
) -> None:
    for batch in batches:
        await world.apply(batch)
    assert [row[0] for row in await world.pool.fetch(WENT)] == [START + 10 * SECOND]
    assert (await world.rows())["last_seen_offline"] == START + 20 * SECOND


async def test_it_goes_again_once_it_was_back(world: World) -> None:
    await world.apply(OFFLINES)
    await world.apply([said(30, Presence.ONLINE)])
    await world.apply([said(40, Presence.OFFLINE), said(50, Presence.OFFLINE)])
    assert [row[0] for row in await world.pool.fetch(GOINGS)] == ["online", "offline", "online", "offline"]
    assert [row[0] for row in await world.pool.fetch(WENT)] == [START + 10 * SECOND, START + 40 * SECOND]


async def test_a_retained_offline_from_before_takes_the_retained_online_out_of_the_timeline(
    database: str,
) -> None:
    """The row is offline by the retained word alone; replayed, the timeline must end there, too."""

    def retained(second: int, presence: Presence) -> Observation:
        return said(second, presence)._replace(snapshot=True)

    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        world = World(pool)
        await world.reset()
        await world.apply([retained(300, Presence.ONLINE)])
        await world.apply([retained(0, Presence.OFFLINE)])
        assert (await world.rows())["status"] == "offline"
        assert [row[0] for row in await pool.fetch(GOINGS)] == ["offline"]
