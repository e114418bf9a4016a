"""The slim pass over devices that go on being online, alone and beside others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from handlers.evidence import Evidence
from ingest.errors import DatabaseAway, Unattributed
from ingest.store.apply import Applier
from ingest.store.batch import Batch, DeadLetter, Target
from ingest.store.columns import apply_arguments
from ingest.store.refusals import Contended
from tests.ingest.store.world import DEVICE, World, model, waits
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START
from tests.waiting import until

LOCKS = """select count(*) from pg_locks where locktype = 'advisory' and mode = $1 and granted = $2
    and database = (select oid from pg_database where datname = current_database())"""
ALONE, SHARED = "ExclusiveLock", "ShareLock"
OTHER = UUID(int=8)


PATIENT = {"rollcall.alone_waits": "30s"}
"""For tests in which a row is held while somebody looks."""


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with world_in(database, PATIENT) as world:
        yield world


@pytest.fixture
async def hasty(database: str) -> AsyncIterator[World]:
    """One that waits for a row as long as it really does."""
    async with world_in(database, {}) as world:
        yield world


@contextlib.asynccontextmanager
async def world_in(database: str, settings: dict[str, str]) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=4, max_size=4, server_settings=settings) as pool:
        world = World(pool)
        await world.reset()
        await world.apply([said(0)])
        yield world


def said(second: int, battery: int | None = None, presence: Presence = Presence.ONLINE) -> Observation:
    at = START + second * SECOND
    battery = second % 100 if battery is None else battery
    return Observation(INTEGRATION, DeviceKey("d"), at, at, at, presence=presence, battery_level=battery)


def batch(*observations: Observation, device: UUID = DEVICE) -> Batch:
    evidence, made = Evidence(), Batch()
    for one in observations:
        evidence.add(one)
    made.add(device, Target(OFFLINE_AFTER), evidence)
    return made


async def add_devices(world: World, ids: list[UUID]) -> None:
    await world.pool.execute(
        "insert into devices (id, organization_id, integration_id, external_device_id, name, device_type)"
        " select t.id, o.id, $2, t.id::text, 'd', 'sensor' from unnest($1::uuid[]) as t (id), organizations o",
        ids,
        world.integration,
    )


async def held(blocker: asyncpg.Connection, sql: str) -> asyncpg.transaction.Transaction:
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute(sql)
    return transaction


async def locks(world: World, mode: str, granted: bool) -> bool:
    return bool(await world.pool.fetchval(LOCKS, mode, granted))


async def test_who_is_alone_keeps_other_writers_out_until_it_has_committed(world: World) -> None:
    async with world.pool.acquire() as blocker:
        holding = await held(blocker, "select 1 from devices for update")
        first = asyncio.create_task(world.apply([said(10)]))
        await until(lambda: locks(world, ALONE, True), 10, "the first is alone")
        second = asyncio.create_task(world.apply([said(5, 77)]))
        await until(lambda: locks(world, SHARED, False), 10, "the second waits for the first")
        await holding.commit()
        await asyncio.gather(first, second)
    assert await world.rows() == model([said(0), said(10), said(5, 77)])


async def test_who_is_not_alone_goes_on_beside_others(world: World) -> None:
    async with world.pool.acquire() as other:
        holding = await held(other, "select rollcall.is_alone(0)")
        await world.apply([said(10)])
        await holding.rollback()
    assert await world.rows() == model([said(0), said(10)])


@pytest.mark.parametrize("alone_from", [None, 1])
async def test_the_row_is_compared_as_it_is_when_it_is_written(world: World, alone_from: int | None) -> None:
    """Somebody else's UPDATE of a row is never undone by what was read before it."""
    world.applier = Applier(world.pool, alone_from=alone_from)
    async with world.pool.acquire() as platform:
        holding = await held(platform, "update devices set status = 'error', name = 'renamed'")
        writing = asyncio.create_task(world.apply([said(10)]))
        await until(lambda: locks(world, ALONE if alone_from else SHARED, True), 10, "it writes")
        await until(lambda: waits(world.pool), 10, "it waits for the row")
        await holding.commit()
        await writing
    row = await world.pool.fetchrow("select status, name, battery_level from devices")
    assert tuple(row) == ("error", "renamed", 10)


async def test_clocks_that_somebody_moved_without_a_lock_are_not_overwritten(world: World) -> None:
    moved = "update rollcall.device_state set battery_at = battery_at + 60000000"
    async with world.pool.acquire() as stranger:
        holding = await held(stranger, "select 1 from devices for update")
        writing = asyncio.create_task(world.applier.commit(batch(said(10))))
        await until(lambda: waits(world.pool), 10, "it waits for the row")
        await stranger.execute(moved)
        await holding.commit()
        with pytest.raises(Contended, match="without the lock"):
            await writing
    await world.apply([said(10)])
    rows = await world.rows()
    assert (rows["battery_level"], rows["last_seen_online"]) == (0, START + 10 * SECOND)


async def test_a_row_that_somebody_holds_does_not_keep_all_writers_waiting(hasty: World) -> None:
    async with hasty.pool.acquire() as idle:
        holding = await held(idle, "select 1 from devices for update")
        with pytest.raises(Unattributed, match="lock timeout"):
            await hasty.applier.commit(batch(said(10)))
        await assert_beside(hasty, idle)
        await holding.rollback()


async def test_who_waits_for_us_in_a_circle_wins(hasty: World) -> None:
    """Postgres would end the other's transaction, after a second in which nobody can write."""
    await add_devices(hasty, [OTHER])
    assert await hasty.applier.commit(batch(said(0), device=OTHER)) == []
    both = batch(said(10))
    both.add(OTHER, Target(OFFLINE_AFTER), batch(said(10)).devices[DEVICE])
    async with hasty.pool.acquire() as platform:
        holding = await held(platform, f"update devices set name = 'renamed' where id = '{OTHER}'")
        writing = asyncio.create_task(hasty.applier.commit(both))
        await until(lambda: waits(hasty.pool), 10, "it waits for the other row")
        await platform.execute(f"update devices set name = 'renamed' where id = '{DEVICE}'")
        with pytest.raises(Unattributed, match="lock timeout"):
            await writing
        await holding.commit()
    assert await hasty.applier.commit(both) == []
    rows = await hasty.pool.fetch("select name, battery_level from devices")
    assert [tuple(row) for row in rows] == [("renamed", 10)] * 2


async def test_after_one_that_took_long_others_are_kept_out_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.store.apply.SLOW_S", 0.0)
    await world.apply([said(10)])
    async with world.pool.acquire() as blocker:
        await assert_beside(world, blocker)


async def test_after_a_try_that_was_given_up_others_are_kept_out_no_more(world: World) -> None:
    world.applier = Applier(world.pool, alone_from=1, timeout_s=0.3)
    async with world.pool.acquire() as blocker:
        holding = await held(blocker, "select 1 from devices for update")
        with pytest.raises(DatabaseAway, match="no answer"):
            await world.applier.commit(batch(said(10)))
        await holding.rollback()
        await assert_beside(world, blocker)


async def assert_beside(world: World, blocker: asyncpg.Connection) -> None:
    """Look at a batch on its way: it keeps nobody out."""
    holding = None if blocker.is_in_transaction() else await held(blocker, "select 1 from devices for update")
    writing = asyncio.create_task(world.applier.commit(batch(said(20))))
    await until(lambda: waits(world.pool), 10, "it waits for the row")
    assert await locks(world, SHARED, True)
    assert not await locks(world, ALONE, True)
    if holding is None:
        writing.cancel()
        return
    await holding.commit()
    assert await writing == []


async def test_where_somebody_waited_nobody_is_kept_out_for_a_second(world: World) -> None:
    """Else whoever writes a little waits for each large batch of another."""
    async with world.pool.acquire() as blocker:
        holding = await held(blocker, "select 1 from devices for update")
        first = asyncio.create_task(world.apply([said(10)]))
        await until(lambda: locks(world, ALONE, True), 10, "the first is alone")
        second = asyncio.create_task(Applier(world.pool).commit(batch(said(11))))
        await until(lambda: locks(world, SHARED, False), 10, "the second waits for the first")
        await holding.commit()
        await asyncio.gather(first, second)
        await assert_beside(world, blocker)


async def test_a_batch_with_a_device_that_is_gone_writes_nothing_of_the_others(world: World) -> None:
    before = await world.rows()
    both = batch(said(10))
    both.add(OTHER, Target(OFFLINE_AFTER), batch(said(10)).devices[DEVICE])
    assert await world.applier.commit(both) == [OTHER]
    assert await world.rows() == before


async def test_a_transaction_of_several_statements_keeps_nobody_out(world: World) -> None:
    """It may stand still between two of them, and must not stop a fleet then."""
    letter = DeadLetter(UUID(int=9), world.integration, "s", "t", 1, False, None, START, "k", "e", b"", False)
    said_more = batch(said(10))
    said_more.dead_letters.append(letter)
    async with world.pool.acquire() as blocker:
        holding = await held(blocker, "lock table rollcall.dead_letters in access exclusive mode")
        writing = asyncio.create_task(world.applier.commit(said_more))
        await until(lambda: waits(world.pool), 10, "it waits for the second statement")
        assert await locks(world, SHARED, True)
        assert not await locks(world, ALONE, True)
        await holding.commit()
        assert await writing == []


def test_what_may_take_long_is_not_asked_to_be_alone() -> None:
    assert apply_arguments(batch(said(1)), 0, 256)[-3] == "256"
    goes = batch(said(1), said(2, presence=Presence.OFFLINE))
    installs = batch(said(1)._replace(firmware=(("main", "1.0"),)))
    assert [apply_arguments(one, 0, 256)[-3] for one in (goes, installs)] == ["", ""]


async def test_what_is_seldom_written_is_not_asked_to_be_alone(world: World) -> None:
    seldom = Applier(world.pool, presence_resolution=60 * SECOND, alone_from=1)
    made = batch(said(10))
    seldom.prepare(made)
    assert made.arguments is not None
    assert made.arguments[-3] == ""


async def test_devices_of_all_kinds_in_one_batch_are_each_what_the_pure_rules_say(world: World) -> None:
    """One goes on, one comes back, one goes, one is late, one was never heard."""
    ids = [UUID(int=n) for n in range(20, 25)]
    await add_devices(world, ids)
    goes, late = said(20, presence=Presence.OFFLINE), said(5, 5)
    history = {
        ids[0]: ([said(0)], [said(20)]),
        ids[1]: ([said(0), said(1, presence=Presence.OFFLINE)], [said(20)]),
        ids[2]: ([said(0)], [goes]),
        ids[3]: ([said(10)], [late]),
        ids[4]: ([], [said(20)]),
    }
    for device, (before, _) in history.items():
        if before:
            assert await world.applier.commit(batch(*before, device=device)) == []
    together = Batch()
    for device, (_, now) in history.items():
        together.add(device, Target(OFFLINE_AFTER), batch(*now).devices[DEVICE])
    assert await world.applier.commit(together) == []
    for device, (before, now) in history.items():
        wanted = model([*before, *now])
        row = await world.pool.fetchrow("select status, battery_level from devices where id = $1", device)
        assert tuple(row) == (wanted["status"], wanted["battery_level"]), device
