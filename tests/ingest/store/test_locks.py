"""Two writers: one waits for the other's lock wherever it is held, and sees what the other committed meanwhile."""

import asyncio

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence, Reading
from handlers.firmware import DAY
from tests.ingest.store.world import DEVICE, World, model, waits
from tests.strategies import INTEGRATION, START
from tests.waiting import until

HELD = {
    "the device": "select 1 from devices for update",
    "its clocks": "select 1 from rollcall.device_state for update",
    "its newest firmware": "select 1 from rollcall.device_firmware for update",
    "a firmware point": "insert into rollcall.firmware_points (device_id, component, version, day, at)"
    f" values ('{DEVICE}', 'main', 'v2', {(START + 10 * SECOND) // DAY}, {START + 11 * SECOND})",
    "its readings": "select 1 from rollcall.device_readings for update",
}


def said(second: int, battery: int, version: str) -> Observation:
    at = START + second * SECOND
    return Observation(
        INTEGRATION,
        DeviceKey("d"),
        at,
        at,
        at,
        presence=Presence.ONLINE,
        battery_level=battery,
        firmware=(("main", version),),
        readings=(Reading("t", float(battery)),),
    )


@pytest.mark.parametrize("place", HELD)
async def test_a_writer_that_waited_for_a_lock_gives_the_rows_of_the_pure_rules(
    database: str, place: str
) -> None:
    pool = await asyncpg.create_pool(database, min_size=3, max_size=3)
    world = World(pool)
    first, newer, older = said(0, 1, "v1"), said(20, 3, "v3"), said(10, 2, "v2")
    try:
        await world.reset()
        await world.apply([first])
        async with pool.acquire() as blocker:
            held = blocker.transaction()
            await held.start()
            await blocker.execute(HELD[place])
            writing = [asyncio.create_task(world.apply([newer])), asyncio.create_task(world.apply([older]))]
            await until(lambda: waits(blocker), 10, f"a writer waits for {place}")
            await held.commit()
            await asyncio.gather(*writing)
        assert await world.rows() == model([first, newer, older])
    finally:
        await pool.close()


async def test_batches_in_opposite_order_do_not_deadlock(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=4, max_size=4)
    world = World(pool)
    try:
        await world.reset()
        seen = [said(n, n % 100, f"v{n % 3}") for n in range(60)]
        await asyncio.gather(*(world.apply(seen[n::6]) for n in range(6)))
        assert await world.rows() == model(seen)
        assert await pool.fetchval("select count(*) from devices where id = $1", DEVICE) == 1
    finally:
        await pool.close()
