"""Replicas that share the slots of an integration: the rows are those of one, whoever comes, goes or dies."""

import asyncio

import pytest

from tests.crash.load import assert_rows_are_the_models, publish
from tests.crash.setting import add_integration
from tests.scale.replicas import Replicas
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

MESSAGES = 20_000
DIGESTS = """
select right(s.client_id, 1)::int as slot, coalesce(sum(length(d.digests)), 0) / 10 as messages
from rollcall.mqtt_sessions s left join rollcall.mqtt_digests d on d.session_id = s.id group by s.id order by 1"""


async def test_four_replicas_that_join_one_under_load_bring_the_rows_of_one(
    broker: MosquittoServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, broker.port, slots=4)
    replicas.start()
    await replicas.hold(4)
    publishing = asyncio.create_task(publish(broker.port, MESSAGES))
    for _ in range(3):
        replicas.start()
    await replicas.hold(1, 1, 1, 1)
    assert not publishing.done(), "the load ended before the replicas were there"
    await publishing
    await assert_rows_are_the_models(replicas.database, MESSAGES)
    await replicas.assert_nothing_twice()
    brought = [row["messages"] for row in await replicas.rows(DIGESTS)]
    assert len(brought) == 4
    assert min(brought) > MESSAGES / 16
    assert [one.stop() for one in replicas.processes] == [0, 0, 0, 0]


async def test_the_slots_of_a_replica_that_died_are_drained_by_the_others(
    broker: MosquittoServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, broker.port, slots=4)
    replicas.start()
    dying = replicas.start()
    await replicas.hold(2, 2)
    publishing = asyncio.create_task(publish(broker.port, MESSAGES))
    before = "select count(*) from devices"

    async def under_way() -> bool:
        return (await replicas.rows(before))[0][0] > 0

    await until(under_way, 10, "the load is under way")
    dying.kill9()
    await replicas.hold(4)
    await publishing
    await assert_rows_are_the_models(replicas.database, MESSAGES)
    await replicas.assert_nothing_twice()


async def test_a_replica_that_stops_hands_over_before_its_leases_would_end(
    broker: MosquittoServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, broker.port, slots=2)
    stopping = replicas.start(ROLLCALL_LEASE_TTL_S="15")
    replicas.start(ROLLCALL_LEASE_TTL_S="15")
    await replicas.hold(1, 1, within_s=40)
    assert stopping.stop() == 0
    await replicas.hold(2, within_s=7)


async def test_a_standby_takes_the_only_slot_of_one_that_died(
    broker: MosquittoServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, broker.port)
    active = replicas.start()
    await replicas.hold(1)
    replicas.start()
    (before,) = await replicas.rows("select holder from rollcall.leases where name like 'mqtt/%'")
    living = "select count(*) from rollcall.leases where name like 'replica/%'"

    async def both() -> bool:
        return bool((await replicas.rows(living))[0][0] == 2)

    await until(both, 10, "both replicas live")
    assert await replicas.rows("select holder from rollcall.leases where name like 'mqtt/%'") == [before]
    active.kill9()

    async def taken() -> bool:
        found = await replicas.rows(
            "select holder from rollcall.leases where name like 'mqtt/%' and expires_at >= now()"
        )
        return len(found) == 1 and found != [before]

    await until(taken, 10, "the standby has the slot")
    await replicas.hold(1)


@pytest.mark.timeout(180)
async def test_slots_are_added_and_taken_away_under_load_without_a_restart(
    broker: MosquittoServer, replicas: Replicas
) -> None:
    await add_integration(replicas.database, broker.port)
    replicas.start()
    replicas.start()
    await replicas.hold(1)
    publishing = asyncio.create_task(publish(broker.port, MESSAGES))
    await replicas.set(slots=4)
    await replicas.hold(2, 2)
    await replicas.set(slots=2)
    await replicas.hold(1, 1)
    await replicas.set(slots=1)
    await replicas.hold(1)
    assert not publishing.done(), "the load ended too early"
    await publishing
    await assert_rows_are_the_models(replicas.database, MESSAGES)
    await replicas.assert_nothing_twice()
    (session,) = await replicas.rows("select subscriptions::text as s from rollcall.mqtt_sessions")
    assert "$share" not in session["s"]
