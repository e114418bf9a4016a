"""Rows that old writers insert into the firmware history are sightings like any other."""

import asyncio

import asyncpg

from handlers.events import SECOND, DeviceKey, Observation, Presence
from tests.ingest.store.world import DEVICE, World, waits
from tests.strategies import START
from tests.waiting import until


async def test_what_an_old_writer_installs_stays_true_for_what_is_derived_later(database: str):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    world = World(pool)
    await world.reset()

    async def seen(version: str, second: int) -> None:
        at = START + second * SECOND
        await world.apply(
            [Observation(world.integration, DeviceKey("d"), at, at, at, firmware=(("main", version),))]
        )

    await seen("1.0", 0)
    await pool.execute(
        "insert into device_firmware_history (device_id, firmware_version, installed_at, source)"
        " values ($1, '2.0', rollcall.timestamp_of($2), 'manual_provision')",
        DEVICE,
        START + 100 * SECOND,
    )
    await seen("1.0", 50)
    await seen("2.0", 200)
    rows = await world.rows()
    assert rows["firmware_version"] == "2.0"
    assert [install[1:] for install in rows["installs"]] == [
        (START, "1.0", "factory_default"),
        (START + 100 * SECOND, "2.0", "manual_provision"),
    ]
    await seen("1.0", 300)
    assert (await world.rows())["firmware_version"] == "1.0"
    await pool.close()


async def test_an_old_writer_waits_for_the_device_before_it_holds_its_component(database: str) -> None:
    """As the apply does: else both could wait for each other."""
    async with asyncpg.create_pool(database, min_size=3, max_size=3) as pool:
        world = World(pool)
        await world.reset()
        await world.apply(
            [Observation(world.integration, DeviceKey("d"), START, START, START, firmware=(("main", "1"),))]
        )
        async with pool.acquire() as applying:
            holding = applying.transaction()
            await holding.start()
            await applying.execute("select from devices for no key update")
            inserting = asyncio.create_task(
                pool.execute(
                    "insert into device_firmware_history (device_id, firmware_version, installed_at, source)"
                    " values ($1, '2', now(), 'manual_provision')",
                    DEVICE,
                )
            )
            await until(lambda: waits(pool), 10, "it waits for the device")
            await applying.execute("select from rollcall.device_firmware for update nowait")
            await holding.commit()
            await inserting
        assert await pool.fetchval("select firmware_version from devices") == "2"


async def test_a_device_that_changes_more_often_than_marks_are_kept_says_how_many_were_left_out(
    database: str,
):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    world = World(pool)
    await world.reset()
    words = ["online", "offline"] * 40
    ats = [START + n * SECOND for n in range(len(words))]
    await world.apply(
        [
            Observation(world.integration, DeviceKey("d"), at, at, at, presence=Presence(word))
            for at, word in zip(ats, words, strict=True)
        ]
    )
    left_out = await pool.fetchval("select max((detail ->> 'left_out')::int) from rollcall.device_events")
    assert left_out == 79 - 32
    await pool.close()
