import asyncio
import json
import socket
import time

import aiomqtt
import pytest

from ingest.local.broker import LocalBroker
from ingest.local.ports import free_port
from ingest.simulate.fleet import Fleet
from tests.servers import postgres


@pytest.fixture(params=["mosquitto", "amqtt"])
async def broker(request, tmp_path, monkeypatch):
    """A local broker of each kind, on a port of its own: other tests start brokers at the usual one meanwhile."""
    monkeypatch.setattr("ingest.local.broker.USUAL_PORT", postgres.free_port())
    if request.param == "amqtt":
        monkeypatch.setattr("ingest.local.broker.mosquitto", lambda: None)
    server = LocalBroker(tmp_path / "broker")
    assert server.name.startswith(request.param)
    await server.start()
    yield server
    await server.stop()
    assert server.pid is None


async def ended(task):
    task.cancel()
    await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 10)
    assert task.cancelled()


def listener(broker):
    return aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V311)


async def test_what_the_fleet_publishes_passes_through_the_broker_and_is_what_devices_say(broker):
    async with asyncio.timeout(30), listener(broker) as client:
        await client.subscribe("devices/#", qos=1)
        fleet = asyncio.create_task(Fleet("127.0.0.1", broker.port, count=60, rate=500).run())
        seen: dict[str, bytes] = {}
        async for message in client.messages:
            seen[str(message.topic)] = message.payload
            if len([topic for topic in seen if topic.endswith("/telemetry")]) == 60:
                break
        await ended(fleet)
    assert seen["devices/sim-00001/connection"] == b"online"
    assert json.loads(seen["devices/sim-00060/status"])["firmware"] == "1.0.0"
    assert json.loads(seen["devices/sim-00060/telemetry"]).keys() == {"battery", "rssi", "temperature", "ts"}


async def test_a_device_whose_link_is_cut_is_offline_by_its_will_and_comes_back(broker):
    topic = "devices/sim-00001/connection"
    async with asyncio.timeout(30), listener(broker) as client:
        await client.subscribe(topic, qos=1)
        fleet = Fleet("127.0.0.1", broker.port, count=1, rate=1)
        task = asyncio.create_task(fleet.run())
        words = []
        async for message in client.messages:
            words.append(message.payload)
            if words == [b"online"]:
                fleet.links[0].cut(away_s=0.1)
            if len(words) == 3:
                break
        await ended(task)
    assert words == [b"online", b"offline", b"online"]


def test_a_port_that_is_taken_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        usual = taken.getsockname()[1]
        assert free_port(usual) != usual


async def test_a_broker_that_was_started_is_gone_after_the_stop(broker):
    began = time.monotonic()
    port = broker.port
    await broker.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert time.monotonic() - began < 10
