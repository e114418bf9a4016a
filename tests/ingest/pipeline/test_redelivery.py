"""Redeliveries are acknowledged and not applied again, also by the next process."""

import time
from pathlib import Path

import aiomqtt

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.waiting import until

SEEN = "select last_seen_online from devices where external_device_id = 'd1'"


async def test_a_cut_between_our_puback_and_the_brokers_read_applies_nothing_twice(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with Proxy(mosquitto.port) as proxy, running(database, mosquitto, marker_interval_s=60) as service:
        integration = await service.add_integration(port=proxy.port)
        await service.connected(integration)
        heard = "select count(*) from rollcall.mqtt_sessions where heard_until is not null"
        await service.sees(heard, 1)
        proxy.swallow = True
        await service.publish("devices/d1/telemetry", '{"battery": 1}')
        await service.sees("select count(*) from devices where battery_level = 1", 1)
        before = await service.pool.fetchval(SEEN)
        proxy.swallow = False
        since = await service.pool.fetchval("select heard_until from rollcall.mqtt_sessions")
        proxy.cut()
        # the marker of the new connection comes behind everything that is sent again
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > $1", 1, since)
        assert await service.pool.fetchval(SEEN) == before


async def test_the_next_process_knows_what_the_last_one_committed(
    database: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    async with Proxy(mosquitto.port) as proxy:
        async with running(database, mosquitto, marker_interval_s=60) as service:
            await service.connected(await service.add_integration(port=proxy.port))
            proxy.swallow = True
            await service.publish("devices/d1/telemetry", '{"fw": "a"}')
            await service.sees("select count(*) from devices where firmware_version = 'a'", 1)
            before = await service.pool.fetchval(SEEN)
        proxy.cut()
        proxy.swallow = False
        async with running(database, mosquitto) as service:
            heard = "select count(*) from rollcall.mqtt_sessions where heard_until > $1"
            at = await service.pool.fetchval("select (extract(epoch from now()) * 1000000)::bigint")
            await service.sees(heard, 1, at)
            assert await service.pool.fetchval(SEEN) == before


async def test_a_graceful_stop_acknowledges_what_is_in_hand_in_under_five_seconds(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        for level in range(50):
            await service.publish("devices/d1/telemetry", b'{"battery": %d}' % level)
        await service.sees("select battery_level from devices", 49)
        before = await service.pool.fetchval(SEEN)
    async with running(database, mosquitto) as service:
        await service.connected(await service.pool.fetchval("select id from device_integrations"))
        lines = mosquitto.log.read_text
        assert await service.pool.fetchval(SEEN) == before

        async def resumed() -> bool:
            return "rollcall-" in lines()

        await until(resumed, 5, "the session came back")


async def test_a_device_that_went_and_came_back_while_we_were_away_is_online(
    database: str, mosquitto: MosquittoServer
) -> None:
    """Its will has no time and counts as of when it is read; what it said behind it must not seem older."""
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", b'{"battery": 50, "ts": %.6f}' % time.time())
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > heard_since", 1)
        await service.sees("select battery_level from devices", 50)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        await device.publish("devices/d1/connection", b"offline", qos=1)
        await device.publish("devices/d1/telemetry", b'{"battery": 49, "ts": %.6f}' % time.time(), qos=1)
    async with running(database, mosquitto) as service:
        await service.sees("select battery_level from devices", 49)
        assert await service.pool.fetchval("select status from devices") == "online"
