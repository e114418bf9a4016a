"""MQTT 3.1.1 alone: paho kept in check, and codes of its own."""

import asyncio

import pytest

from ingest.errors import BrokerRefused, ProtocolBroken
from ingest.mqtt.port import Broker, Subscription
from tests.ingest.mqtt.conftest import Fleet, Open, publishes, until
from tests.servers.scripted import read_packet, scripted_server

CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture
def protocol() -> str:
    """MQTT 3.1.1 only."""
    return "3.1.1"


def at(port: int) -> Broker:
    return Broker("127.0.0.1", port, "scripted", connect_timeout_s=5)


async def test_nothing_is_subscribed_above_qos_1_so_that_paho_never_answers_by_itself(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    connection, _ = await opened(broker)
    (granted,) = await connection.subscribe([Subscription(f"{fleet.base}/#", 2)])
    assert granted.qos == 1
    await fleet.says(b"sent at 2", qos=2)
    assert [p.qos for p in await publishes(connection, 1)] == [1]


BROKEN = {
    "a topic that is not UTF-8, and no room for a packet id": b"\x32\x04\x00\x02\xff\xfe",
    "an empty topic, and packet id 0": b"\x32\x04\x00\x00\x00\x00",
    "topic longer than the packet": b"\x30\x03\x00\x09a",
    "packet id 0": b"\x32\x05\x00\x01a\x00\x00",
    "QoS 3": b"\x36\x05\x00\x01a\x00\x01",
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet type 0": b"\x00\x00",
    "PUBACK too short": b"\x40\x01\x00",
    "DISCONNECT, which only clients send": b"\xe0\x00",
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
async def test_a_malformed_packet_closes_the_connection_and_what_came_before_is_handed_out(
    opened: Open, bad: bytes
) -> None:
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(CONNACK + b"\x30\x09\x00\x01abefore" + bad)
        try:
            await read_packet(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            ended.set()

    async with scripted_server(script) as port:
        connection, _ = await opened(at(port))
        assert [p.payload for p in await publishes(connection, 1)] == [b"before"]
        with pytest.raises(ProtocolBroken, match="malformed packet, connection closed"):
            await connection.receive()
        await until(ended.is_set)


@pytest.mark.parametrize("code, expected", [(1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87), (9, 0x80)])
async def test_a_refusal_has_the_code_of_mqtt_5(opened: Open, code: int, expected: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(bytes([0x20, 2, 0, code]))
        await read_packet(reader)

    async with scripted_server(script) as port:
        with pytest.raises(BrokerRefused) as refused:
            await opened(at(port))
        assert refused.value.code == expected
