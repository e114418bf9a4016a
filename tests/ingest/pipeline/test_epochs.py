"""A session that another process takes up: each message counts once, whoever had it in hand."""

import asyncio

import asyncpg
import pytest

from ingest.errors import SessionsLost
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, SessionProgress
from ingest.store.commit.sessions import Sessions
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import WAITING

INSTALLS = "select count(*) from rollcall.device_events where kind = 'firmware'"
COMMIT, OPENING = "rollcall.apply(", "insert into rollcall.mqtt_sessions"
OURS = "select client_id from rollcall.mqtt_sessions"
TAKE_UP = "update rollcall.mqtt_sessions set epoch = epoch + 1"


async def with_one_install(service: Service) -> None:
    await service.connected(await service.add_integration())
    await service.publish("devices/d1/telemetry", '{"fw": "a"}')
    await service.sees(INSTALLS, 1)


async def test_what_is_in_hand_of_a_session_that_was_taken_up_is_left_to_who_did(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, mosquitto) as service:
        await with_one_install(service)
        async with service.pool.acquire() as other, other.transaction():
            await other.execute(TAKE_UP)
            await service.publish("devices/d1/telemetry", '{"fw": "b"}')
            await service.sees(WAITING, 1, COMMIT)
        await service.sees(WAITING, 0, COMMIT)
        for level in range(3):
            await service.publish("devices/d1/telemetry", b'{"battery": %d}' % level)
    assert "read by another process now" in caplog.text
    async with running(database, mosquitto) as service:
        await service.sees("select battery_level from devices", 2)
        assert await service.pool.fetchval(INSTALLS) == 2


async def test_who_takes_a_session_up_waits_for_the_commit_that_is_under_way(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service, asyncpg.create_pool(database, min_size=1) as pool:
        await with_one_install(service)
        integration = await service.pool.fetchval("select id from device_integrations")
        async with service.pool.acquire() as blocker, blocker.transaction():
            await blocker.execute("lock table devices in access exclusive mode")
            await service.publish("devices/d1/telemetry", '{"fw": "b"}')
            await service.sees(WAITING, 1, COMMIT)
            ours = await service.pool.fetchval(OURS)
            taking_up = asyncio.create_task(Sessions(pool).open(integration, ours))
            await service.sees(WAITING, 1, OPENING)
        await taking_up
        assert await service.pool.fetchval(INSTALLS) == 2


async def test_of_a_session_that_was_lost_and_taken_up_again_only_the_former_holding_is_given_up(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await with_one_install(service)
        integration = await service.pool.fetchval("select id from device_integrations")
        sessions, ours = Sessions(service.pool), await service.pool.fetchval(OURS)
        former, again = [await sessions.open(integration, ours) for _ in range(2)]
        both = Batch(sessions=[SessionProgress(one.id, 1, b"", None, one.epoch) for one in (former, again)])
        for batch in (both, Batch(sessions=both.sessions[::-1])):
            with pytest.raises(SessionsLost) as lost:
                await Applier(service.pool).commit(batch)
            assert lost.value.lost == {(former.id, former.epoch)}
        assert await Applier(service.pool).commit(Batch(sessions=both.sessions[1:])) == []
