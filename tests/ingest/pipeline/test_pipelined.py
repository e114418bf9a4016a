"""A pipelined commit: done once, after the one before it, and again in its turn where it was in vain."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from uuid import UUID

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from handlers.evidence import Evidence
from ingest.errors import SessionsLost
from ingest.pipeline.pipelined import PipelinedCommit
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, SessionProgress, Target
from tests.ingest.store.world import DEVICE, World
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START
from tests.waiting import WAITING, until

BATTERY = "select battery_level from devices"
FOR_A_SESSION = (
    "select count(*) from pg_locks where locktype = 'tuple' and relation = 'rollcall.mqtt_sessions'::regclass"
)
SESSION = "insert into rollcall.mqtt_sessions (integration_id, client_id) values ($1, $2) returning id"


class Counted(Applier):
    """Counts its commits."""

    commits = 0

    async def commit(self, batch: Batch, after: Mapping[int, int] = MappingProxyType({})) -> list[UUID]:
        self.commits += 1
        return await super().commit(batch, after)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=4, max_size=6) as pool:
        made = World(pool)
        await made.reset()
        await made.apply([said(0, 10)])
        yield made


def said(second: int, battery: int) -> Observation:
    at = START + second * SECOND
    return Observation(
        INTEGRATION, DeviceKey("d"), at, at, at, presence=Presence.ONLINE, battery_level=battery
    )


async def session(world: World, client_id: str = "c") -> int:
    return int(await world.pool.fetchval(SESSION, world.integration, client_id))


def batch(session_id: int, second: int, battery: int) -> Batch:
    made, evidence = Batch(), Evidence()
    evidence.add(said(second, battery))
    made.add(DEVICE, Target(OFFLINE_AFTER), evidence)
    made.sessions.append(SessionProgress(session_id, second, bytes(10), None))
    return made


async def test_what_was_sent_ahead_is_committed_once(world: World) -> None:
    mine, applier = await session(world), Counted(world.pool)
    first = PipelinedCommit(batch(mine, 1, 20), applier)
    assert await first.commit() == []
    second = PipelinedCommit(batch(mine, 2, 30), applier, after=first)
    await until(lambda: _is(world, BATTERY, 30), 10, "committed")
    assert await second.commit() == []
    assert applier.commits == 2


async def test_it_waits_in_the_database_for_the_one_before_it(world: World) -> None:
    mine, applier = await session(world), Counted(world.pool)
    first = PipelinedCommit(batch(mine, 1, 20), applier)
    async with world.pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("select from devices for update")
        committing = asyncio.create_task(first.commit())
        await until(lambda: _is(world, WAITING, 1, ""), 10, "the first waits for the device")
        second = PipelinedCommit(batch(mine, 2, 30), applier, after=first)
        await until(lambda: _is(world, WAITING, 2, ""), 10, "the second waits, too")
        assert await world.pool.fetchval(FOR_A_SESSION) == 1
    assert await committing == []
    assert await second.commit() == []
    assert (applier.commits, await world.pool.fetchval(BATTERY)) == (2, 30)


async def test_where_the_one_before_it_is_not_committed_it_is_sent_again_in_its_turn(world: World) -> None:
    mine, applier = await session(world), Counted(world.pool)
    first = PipelinedCommit(batch(mine, 1, 20), applier)
    second = PipelinedCommit(batch(mine, 2, 30), applier, after=first)
    assert second._sent is not None
    await asyncio.wait({second._sent}, timeout=10)
    assert await world.pool.fetchval(BATTERY) == 10
    assert [await first.commit(), await second.commit()] == [[], []]
    assert (applier.commits, await world.pool.fetchval(BATTERY)) == (3, 30)


async def test_of_a_session_that_another_process_took_up_nothing_is_applied(world: World) -> None:
    mine, applier = await session(world), Applier(world.pool)
    first = PipelinedCommit(batch(mine, 1, 20), applier)
    assert await first.commit() == []
    await world.pool.execute("update rollcall.mqtt_sessions set epoch = epoch + 1")
    second = PipelinedCommit(batch(mine, 2, 30), applier, after=first)
    with pytest.raises(SessionsLost):
        await second.commit()
    assert await world.pool.fetchval(BATTERY) == 20


async def test_what_shares_no_session_with_the_one_before_it_waits_for_its_turn(world: World) -> None:
    applier = Applier(world.pool)
    first = PipelinedCommit(batch(await session(world), 1, 20), applier)
    second = PipelinedCommit(batch(await session(world, "other"), 2, 30), applier, after=first)
    assert second._sent is None
    assert [await first.commit(), await second.commit()] == [[], []]


async def _is(world: World, sql: str, value: object, *arguments: object) -> bool:
    return bool(await world.pool.fetchval(sql, *arguments) == value)
