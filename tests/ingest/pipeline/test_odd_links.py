"""Links that are slow, that stand still and go on, that are cut; and what others publish to our marker's topic."""

import asyncio
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.servers.started import started
from tests.waiting import until

HEARD = "select count(*) from rollcall.mqtt_sessions where heard_until > heard_since"
LAG_S = "select extract(epoch from clock_timestamp()) - heard_until / 1e6 from rollcall.mqtt_sessions"
BATTERIES = "select count(*) from devices where battery_level = 60"
DEVICES = 50


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.mqtt.answers.WITHIN_S", 1.0)


async def through(service: Service, port: int, **settings: Any) -> Any:
    integration = await service.add_integration(port=port, **settings)
    await service.connected(integration)
    return integration


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.usefixtures("impatient")
async def test_a_backlog_that_takes_longer_to_come_than_an_answer_may_is_read(
    database: str, mosquitto: MosquittoServer, protocol: str
) -> None:
    async with Proxy(mosquitto.port, recording=False) as proxy:
        async with running(database, mosquitto) as service:
            await through(service, proxy.port, protocol=protocol)
            await service.sees(HEARD, 1)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
            for n in range(1_000):
                said = b'{"battery":60,"pad":"%s"}' % (b"x" * 1_000)
                await device.publish(f"devices/d{n % DEVICES}/telemetry", said, qos=1)
        proxy.delay_s = 0.2  # 64 KiB each: three seconds in all
        async with running(database, mosquitto) as service:
            await service.sees(BATTERIES, DEVICES, within_s=30)


@pytest.mark.usefixtures("impatient")
async def test_a_link_that_stands_still_and_goes_on_is_heard_as_before(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with Proxy(mosquitto.port) as proxy, running(database, mosquitto) as service:
        await through(service, proxy.port)
        await service.sees(HEARD, 1)
        proxy.stall()
        await asyncio.sleep(3)
        proxy.flow()

        async def caught_up() -> bool:
            return bool(await service.pool.fetchval(LAG_S) < 2)

        await until(caught_up, 15, "it is heard until now")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_is_retained_is_not_read_again_after_a_cut(
    database: str, mosquitto: MosquittoServer, protocol: str
) -> None:
    """Last year's will would hide a device that talks."""
    async with Proxy(mosquitto.port) as proxy, running(database, mosquitto) as service:
        await service.publish("devices/d1/connection", b"offline", retain=True)
        await through(service, proxy.port, protocol=protocol)
        await service.sees("select status from devices", "offline")
        await service.publish("devices/d1/telemetry", b'{"battery": 50}')
        await service.sees("select status from devices", "online")
        since = await service.pool.fetchval("select connected_at from rollcall.mqtt_sessions")
        proxy.cut()
        await service.sees("select count(*) from rollcall.mqtt_sessions where connected_at > $1", 1, since)
        await service.publish("devices/d1/telemetry", b'{"battery": 60}')
        await service.sees(BATTERIES, 1)
        told = "select count(*) from rollcall.device_events where kind = 'offline' and retracted_at is null"
        assert await service.pool.fetchval(told) == 0
        assert await service.pool.fetchval("select status from devices") == "online"


@pytest.mark.parametrize("digits", [18, 20, 5_000])
async def test_a_time_that_is_not_ours_on_our_markers_topic_means_nothing(
    database: str, mosquitto: MosquittoServer, digits: int
) -> None:
    async with running(database, mosquitto) as service:
        await through(service, mosquitto.port)
        client = await service.pool.fetchval("select client_id from rollcall.mqtt_sessions")
        await service.publish(f"rollcall/{client}/marker", b"9" * digits)
        await service.publish("devices/d1/telemetry", b'{"battery": 60}')
        await service.sees(BATTERIES, 1)
        await service.sees(HEARD, 1)
        assert await service.pool.fetchval(LAG_S) > -1


async def test_markers_that_do_not_come_back_are_told(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sessions.marker.MARKERS_IN_VAIN", 2)
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite devices/#\ntopic write rollcall/#\n")
    acl.chmod(0o444)
    with started(MosquittoServer(f"acl_file {acl}")) as broker:
        async with running(database, broker) as service:
            await service.connected(await service.add_integration())

            async def told() -> bool:
                return "its markers do not come back" in caplog.text

            await until(told, 15, "the log says it")
