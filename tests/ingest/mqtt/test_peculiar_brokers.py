"""Every adapter against a peer that does what no healthy broker does."""

import asyncio

import pytest

from handlers.events import Publish
from ingest.errors import BrokerAway, BrokerRefused, NoConnack, ProtocolBroken, SessionTakenOver
from ingest.mqtt.port import Subscription
from ingest.mqtt.unreadable import Unreadable
from tests.ingest.mqtt.conftest import WITHIN_S, Adapter, drain, publishes
from tests.servers.scripted import Script, read_packet, scripted_server

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def after_connack(adapter: Adapter, *sent: bytes, then: Script | None = None) -> Script:
    """A broker that accepts, sends these bytes, and goes on with `then` (or closes)."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(adapter.connack + b"".join(sent))
        if then is not None:
            await then(reader, writer)

    return script


async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def test_everything_received_is_handed_out_before_the_end(adapter: Adapter) -> None:
    sent = [adapter.publish("t", b"%d" % i, packet_id=i) for i in range(1, 6)]
    async with scripted_server(after_connack(adapter, *sent)) as port:
        connection, _ = await adapter.open(port, "c")
        came, ended = await drain(connection)
    assert [one.packet_id for one in came] == [1, 2, 3, 4, 5]
    assert "lost" in str(ended)
    with pytest.raises(BrokerAway, match="lost"):
        await connection.receive()


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x32\x05\x00\x01\xff\x00\x00",
        b"\x00\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x36\x07\x00\x01a\x00\x01\x00x",
    ],
    ids=["topic not UTF-8, packet id 0", "packet type 0", "remaining length", "QoS 3"],
)
# mqtt5 0.8 panics on a topic that is not UTF-8, and what it panicked about is left unraised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_malformed_packet_ends_the_connection_with_a_reason(adapter: Adapter, bytes_: bytes) -> None:
    script = after_connack(adapter, adapter.publish("t", b"good"), bytes_, then=until_closed)
    async with scripted_server(script) as port:
        connection, _ = await adapter.open(port, "c")
        came, ended = await drain(connection)
        connection.acknowledge([one for one in came if isinstance(one, Publish)])
        await connection.close()
    assert len(came) == 1
    assert isinstance(ended, ProtocolBroken)
    assert "malformed packet, connection closed" in str(ended)


@pytest.mark.parametrize(
    "topic, shown",
    [(b"a/\xff", "a/\\xff"), (b"a\x00b", "a\\x00b"), (b"", "")],
    ids=["not UTF-8", "NUL", "empty"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_topic_that_is_not_allowed_is_no_end_and_is_acknowledged_in_order(
    adapter: Adapter, topic: bytes, shown: str
) -> None:
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            answered.put_nowait(await read_packet(reader))

    body = len(topic).to_bytes(2) + topic + b"\x00\x05" + (b"\x00" if adapter.protocol == "5" else b"") + b"x"
    sent = [
        adapter.publish("t", b"1", packet_id=7),
        bytes([0x33, len(body)]) + body,
        adapter.publish("t", b"2"),
    ]
    async with scripted_server(after_connack(adapter, *sent, then=script)) as port:
        connection, _ = await adapter.open(port, "c")
        came = await publishes(connection, 3)
        assert isinstance(came[1], Unreadable)
        assert [one.topic for one in came] == ["t", shown, "t"]
        assert (came[1].payload, came[1].retain) == (b"x", True)
        connection.acknowledge(came)
        packets = [await asyncio.wait_for(answered.get(), WITHIN_S) for _ in range(3)]
        assert packets == [b"\x40\x02\x00\x07", b"\x40\x02\x00\x05", b"\x40\x02\x00\x01"]
        await connection.close()


async def test_acknowledgements_leave_in_order_and_only_when_told(adapter: Adapter) -> None:
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            answered.put_nowait(await read_packet(reader))

    sent = [adapter.publish("t", b"x", qos=qos, packet_id=i) for i, qos in ((7, 1), (0, 0), (3, 1), (9, 1))]
    async with scripted_server(after_connack(adapter, *sent, then=script)) as port:
        connection, _ = await adapter.open(port, "c")
        came = await publishes(connection, 4)
        published = asyncio.create_task(connection.publish("marker", b""))
        first = await asyncio.wait_for(answered.get(), WITHIN_S)
        assert first[0] == 0x32, "nothing may be acknowledged before it is told"
        connection.acknowledge(came)
        packets = [await asyncio.wait_for(answered.get(), WITHIN_S) for _ in range(3)]
        assert packets == [b"\x40\x02\x00\x07", b"\x40\x02\x00\x03", b"\x40\x02\x00\x09"]
        await connection.close()
        with pytest.raises(BrokerAway):
            await published


async def test_a_paused_connection_pings_on_and_lives_without_answers(adapter: Adapter) -> None:
    pinged = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            assert await read_packet(reader) == b"\xc0\x00"
        writer.write(adapter.publish("t", b"after the pause"))
        pinged.set()
        await until_closed(reader, writer)

    async with scripted_server(after_connack(adapter, then=script)) as port:
        connection, _ = await adapter.open(port, "c", keep_alive_s=1)
        connection.pause()
        await asyncio.wait_for(pinged.wait(), WITHIN_S)
        connection.resume()
        assert (await publishes(connection, 1))[0].payload == b"after the pause"
        await connection.close()


async def test_a_refused_filter_is_an_answer(adapter: Adapter) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet_id = (await read_packet(reader))[2:4]
        codes = b"\x00\x01\x87" if adapter.protocol == "5" else b"\x01\x80"
        writer.write(bytes([0x90, 2 + len(codes)]) + packet_id + codes)
        await until_closed(reader, writer)

    async with scripted_server(after_connack(adapter, then=script)) as port:
        connection, _ = await adapter.open(port, "c")
        yes, no = await connection.subscribe([Subscription("a"), Subscription("b")])
        await connection.close()
    assert (yes.topic_filter, yes.qos) == ("a", 1)
    assert (no.topic_filter, no.qos) == ("b", None)
    assert no.reason


async def test_closing_is_bounded_when_the_peer_never_closes(adapter: Adapter) -> None:
    released = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()

    async with scripted_server(after_connack(adapter, then=script)) as port:
        connection, _ = await adapter.open(port, "c")
        await asyncio.wait_for(connection.close(), 5)
        await connection.close()
        with pytest.raises(BrokerAway):
            await connection.receive()
        released.set()


async def test_a_broker_that_closes_instead_of_answering_is_told_apart(adapter: Adapter) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)

    async with scripted_server(script) as port:
        with pytest.raises(NoConnack):
            await adapter.open(port, "c")


@pytest.fixture
def mqtt5(adapter: Adapter) -> Adapter:
    """The adapters that speak MQTT 5: only there a broker gives reasons."""
    if adapter.protocol != "5":
        pytest.skip("MQTT 5 only")
    return adapter


@pytest.mark.parametrize("code, kind", [(0x8E, SessionTakenOver), (0x8B, BrokerAway)])
async def test_the_broker_s_reason_is_the_end_s_reason(
    mqtt5: Adapter, code: int, kind: type[BrokerAway]
) -> None:
    farewell = bytes([0xE0, 1, code])
    async with scripted_server(after_connack(mqtt5, mqtt5.publish("t", b"x"), farewell)) as port:
        connection, _ = await mqtt5.open(port, "c")
        came, ended = await drain(connection)
    assert len(came) == 1
    assert type(ended) is kind
    assert f"0x{code:02x}" in str(ended)
    assert ended.code == code


async def test_a_refused_publish_says_why(mqtt5: Adapter) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await read_packet(reader)
        at = 4 + int.from_bytes(packet[2:4], "big")
        writer.write(b"\x40\x03" + packet[at : at + 2] + b"\x87")
        await until_closed(reader, writer)

    async with scripted_server(after_connack(mqtt5, then=script)) as port:
        connection, _ = await mqtt5.open(port, "c")
        with pytest.raises(BrokerRefused, match="the publish: not authorized") as refused:
            await connection.publish("topic", b"x")
        await connection.close()
    assert refused.value.code == 0x87


async def test_a_broker_of_the_old_version_is_a_refusal(mqtt5: Adapter) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(b"\x20\x02\x00\x01")

    async with scripted_server(script) as port:
        with pytest.raises(BrokerRefused) as refused:
            await mqtt5.open(port, "c")
    assert refused.value.code == 0x84
