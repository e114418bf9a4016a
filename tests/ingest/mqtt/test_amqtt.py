"""The 3.1.1 adapter on amqtt, the broker of last resort: what amqtt can do, and no more.

amqtt redelivers nothing after a reconnect, neither queued nor unacknowledged: nothing here is about that.
"""

import asyncio
from collections.abc import Iterator

import pytest

from ingest.clock import StrictClock
from ingest.errors import BrokerRefused, NoConnack
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Broker
from tests.ingest.mqtt.conftest import Fleet, Open, publishes, until
from tests.servers.amqtt_broker import AmqttBroker
from tests.servers.proxy import Proxy

USERS = {"rollcall": "right", "device": "device"}


@pytest.fixture
def protocol() -> str:
    """MQTT 3.1.1 only."""
    return "3.1.1"


@pytest.fixture(scope="module")
def amqtt() -> Iterator[AmqttBroker]:
    server = AmqttBroker()
    server.start()
    yield server
    server.destroy()


async def test_qos_0_and_1_come_in_and_are_acknowledged_only_when_told(
    opened: Open, amqtt: AmqttBroker
) -> None:
    async with Proxy(amqtt.port) as proxy:
        connection, _ = await opened(Broker("127.0.0.1", proxy.port, "a"), "q/#")
        sent_before = len(proxy.sent)
        fleet = Fleet(amqtt.port, "q")
        await fleet.says(b"zero", qos=0)
        await fleet.says(b"one")
        came = await publishes(connection, 2)
        assert sorted(p.payload for p in came) == [b"one", b"zero"]
        assert len(proxy.sent) == sent_before
        connection.acknowledge(came)
        # amqtt sends at QoS 1 what was published at QoS 0.
        pubacks = b"".join(b"\x40\x02" + p.packet_id.to_bytes(2) for p in came if p.qos)
        assert pubacks
        await until(lambda: proxy.sent[sent_before:] == pubacks)


async def test_our_own_publish_is_confirmed(opened: Open, amqtt: AmqttBroker) -> None:
    connection, _ = await opened(Broker("127.0.0.1", amqtt.port, "b"), "own/#")
    await connection.publish("own/marker", b"now")
    assert [p.payload for p in await publishes(connection, 1)] == [b"now"]


async def test_an_idle_connection_is_kept_alive(opened: Open, amqtt: AmqttBroker) -> None:
    async with Proxy(amqtt.port) as proxy:
        connection, _ = await opened(Broker("127.0.0.1", proxy.port, "c", keep_alive_s=1), "k/#")
        sent_before = len(proxy.sent)
        await until(lambda: proxy.sent[sent_before:] == b"\xc0\x00" * 4)
        await connection.publish("k/1", b"alive")
        assert [p.payload for p in await publishes(connection, 1)] == [b"alive"]


async def test_auto_finds_3_1_1_though_amqtt_is_silent_when_asked_for_5(amqtt: AmqttBroker) -> None:
    broker = Broker("127.0.0.1", amqtt.port, "d", connect_timeout_s=1)
    connection, connected = await open_connection("auto", broker, StrictClock())
    await connection.close()
    assert connected.protocol == "3.1.1"


async def test_a_wrong_password_is_refused() -> None:
    server = AmqttBroker({"rollcall": "right"})
    await asyncio.to_thread(server.start)
    try:
        for password, expected in (("right", None), ("wrong", BrokerRefused)):
            broker = Broker("127.0.0.1", server.port, "e", username="rollcall", password=password)
            if expected is None:
                connection, _ = await open_connection("3.1.1", broker, StrictClock())
                await connection.close()
            else:
                with pytest.raises((expected, NoConnack)):
                    await open_connection("3.1.1", broker, StrictClock())
    finally:
        server.destroy()
