"""Failures that users of other systems reported. Others of them: tests/crash, test_service.py."""

import asyncio
import json
import time

import aiomqtt
import pytest

from tests.ingest.pipeline.test_service import STATUS, _set_read_only
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer

OFFLINE_EVENTS = "select count(*) from rollcall.device_events where kind = 'offline' and retracted_at is null"


@pytest.mark.parametrize(
    "clock",
    [lambda: time.time() - 3600, lambda: time.time() + 240, lambda: 0, lambda: 4e9],
    ids=["an hour slow", "four minutes fast", "1970", "2096"],
)
async def test_a_will_that_arrives_after_the_reconnect_does_not_leave_a_talking_device_offline(
    clock, database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", json.dumps({"ts": clock()}))
        await service.publish("devices/d1/connection", "offline")
        await service.sees(STATUS, "offline", "d1")
        await service.publish("devices/d1/telemetry", json.dumps({"ts": clock()}))
        await service.sees(STATUS, "online", "d1")


async def test_retained_wills_that_are_read_at_a_restart_are_no_news(
    database: str, mosquitto: MosquittoServer
):
    seen = "select last_seen_online, last_seen_offline from devices where external_device_id = 'd1'"
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/connection", "offline", retain=True)
        await service.sees(STATUS, "offline", "d1")
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees(STATUS, "online", "d1")
        before = await service.pool.fetchrow(seen)
        await service.pool.execute(
            """update device_integrations set settings = settings || '{"client_id": "anew"}'"""
        )
        await service.sees("select count(*) from rollcall.mqtt_sessions where client_id like 'anew%'", 1)
        # behind the retained message, so that it has been read
        await service.publish("devices/d2/telemetry", "{}")
        await service.sees(STATUS, "online", "d2")
        assert await service.pool.fetchrow(seen) == before
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees(STATUS, "online", "d1")


async def test_an_outage_of_the_database_does_not_mark_the_fleet_silent(
    database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto, offline_after_s=10) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees(STATUS, "online", "d1")
        await _set_read_only(service, True)
        await asyncio.sleep(9)
        await service.publish("devices/d1/telemetry", '{"battery": 9}')
        await asyncio.sleep(3)
        await _set_read_only(service, False)
        await service.sees("select battery_level from devices", 9, within_s=20)
        await asyncio.sleep(1)
        assert await service.pool.fetchval(STATUS, "d1") == "online"
        assert await service.pool.fetchval(OFFLINE_EVENTS) == 0


async def test_nobody_counts_as_active_for_ever_because_a_connection_is_open_or_because_it_was_never_heard(
    database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto, offline_after_s=10) as service:
        integration = await service.add_integration()
        await service.connected(integration)
        await service.pool.execute(
            "insert into devices (organization_id, integration_id, external_device_id, name, device_type, status,"
            " last_seen) select organization_id, id, 'new', 'new', 'x', 'online', now() from device_integrations"
        )
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="open") as device:
            await device.publish("devices/open/connection", "online", qos=1)
            await service.sees(STATUS, "online", "open")
            await service.sees(STATUS, "offline", "open", within_s=25)
            await service.sees(STATUS, "offline", "new", within_s=25)


async def test_a_status_that_was_set_by_hand_is_corrected_and_a_warning_stays(
    database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees(STATUS, "online", "d1")
        for by_hand, then in (("offline", "online"), ("warning", "warning")):
            await service.pool.execute("update devices set status = $1::text::device_status", by_hand)
            await service.publish("devices/d1/telemetry", json.dumps({"battery": len(by_hand)}))
            await service.sees("select battery_level from devices", len(by_hand))
            assert await service.pool.fetchval(STATUS, "d1") == then
        await service.publish("devices/d1/connection", "offline")
        await service.sees(STATUS, "offline", "d1")


async def test_it_can_be_told_when_a_device_went_offline_and_that_fifty_went_together(
    database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as gateway:
            for word in ("online", "offline"):
                for n in range(50):
                    await gateway.publish(f"devices/d{n}/connection", word, qos=1)
                await service.sees("select count(*) from devices where status::text = $1", 50, word)
        together = await service.pool.fetchrow(
            "select count(*), max(e.at) - min(e.at) < interval '5 s', bool_and(e.at = d.last_seen_offline)"
            " from rollcall.device_events e join devices d on d.id = e.subject where e.kind = 'offline'"
        )
        assert tuple(together) == (50, True, True)
