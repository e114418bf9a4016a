"""presence_resolution_s: last_seen and last_seen_online may lag by so much, every other column and our clocks never."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from ingest.store.commit.apply import Applier
from ingest.store.transaction import SingleConnectionPool
from tests.ingest.store.world import DEVICE, EPOCH, World
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START

MINUTE = 60 * SECOND


def said(second: int, battery: int, presence: Presence = Presence.ONLINE) -> Observation:
    at = START + second * SECOND
    return Observation(INTEGRATION, DeviceKey("d"), at, at, at, presence=presence, battery_level=battery)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        made = World(pool)
        made.applier = Applier(pool, presence_resolution=MINUTE)
        await made.reset()
        await made.apply([said(0, 50)])
        yield made


async def seconds(world: World) -> dict[str, Any]:
    """The device's columns and our clock, times in seconds since START."""
    row = await world.pool.fetchrow(
        "select d.last_seen, d.last_seen_online, d.battery_level, d.status, s.online_at"
        " from devices d join rollcall.device_state s on s.device_id = d.id where d.id = $1",
        DEVICE,
    )
    start = EPOCH + timedelta(microseconds=START)
    return {
        "last_seen": (row["last_seen"] - start).total_seconds(),
        "last_seen_online": (row["last_seen_online"] - start).total_seconds(),
        "clock": (row["online_at"] - START) / SECOND,
        "battery": row["battery_level"],
        "status": row["status"],
    }


async def test_a_row_is_not_written_for_a_later_time_alone_until_it_lags_by_the_resolution(
    world: World,
) -> None:
    await world.apply([said(60, 50)])
    assert await seconds(world) == {
        "last_seen": 0, "last_seen_online": 0, "clock": 60, "battery": 50, "status": "online",
    }  # fmt: skip
    await world.apply([said(61, 50)])
    assert await seconds(world) == {
        "last_seen": 61, "last_seen_online": 61, "clock": 61, "battery": 50, "status": "online",
    }  # fmt: skip


async def test_a_value_is_written_at_once_and_the_times_beside_it_may_lag(world: World) -> None:
    await world.apply([said(30, 49)])
    assert await seconds(world) == {
        "last_seen": 0, "last_seen_online": 0, "clock": 30, "battery": 49, "status": "online",
    }  # fmt: skip
    await world.apply([said(70, 48)])
    assert await seconds(world) == {
        "last_seen": 70, "last_seen_online": 70, "clock": 70, "battery": 48, "status": "online",
    }  # fmt: skip


async def test_when_a_device_goes_offline_its_times_are_exact(world: World) -> None:
    await world.apply([said(30, 50)])
    await world.apply([said(40, 50, Presence.OFFLINE)])
    now = await seconds(world)
    assert (now["last_seen_online"], now["status"]) == (30, "offline")


async def test_silence_is_counted_from_the_clock_and_not_from_the_row(world: World) -> None:
    await world.apply([said(59, 50)])
    heard_until = START + 59 * SECOND + OFFLINE_AFTER
    await world.pool.execute(
        "insert into rollcall.mqtt_sessions (integration_id, client_id, heard_until) values ($1, 'c', $2)",
        world.integration,
        heard_until,
    )
    await world.sweep()
    assert (await seconds(world))["status"] == "online"


async def test_an_index_on_last_seen_costs_nothing_while_it_may_lag(world: World) -> None:
    await world.pool.execute("create index by_last_seen on devices (last_seen)")
    sql = (
        "select n_tup_hot_upd = n_tup_upd as hot from pg_stat_xact_user_tables where relname = 'devices'"
        " and n_tup_upd > 0"
    )
    for second, hot in ((30, True), (70, False)):
        async with world.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            within = World(world.pool)
            within.applier = Applier(SingleConnectionPool(connection), presence_resolution=MINUTE)
            await within.apply([said(second, second)])
            assert await connection.fetchval(sql) is hot
            await transaction.rollback()
