"""MQTT 5 alone: QoS 2, what CONNECT announces, reasons."""

import asyncio
from collections.abc import Callable

import mqtt5
import pytest

from handlers.events import Publish
from ingest.errors import BrokerAway, BrokerRefused, NoConnack, ProtocolBroken
from ingest.mqtt.port import Broker, Released, Subscription
from ingest.mqtt.skimming import HEAD
from tests.ingest.mqtt.conftest import Fleet, Open, publishes, take, until
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.servers.scripted import read_packet, scripted_server

CONNACK = mqtt5.ConnAckPacket().write()


@pytest.fixture
def protocol() -> str:
    """MQTT 5 only."""
    return "5"


def at(port: int) -> Broker:
    return Broker("127.0.0.1", port, "scripted", connect_timeout_s=5)


async def test_qos_2_resumes_where_it_was_cut(opened: Open, broker: Broker, fleet: Fleet) -> None:
    async with Proxy(broker.port) as proxy:
        connection, _ = await opened(broker, f"{fleet.base}/#", qos=2, port=proxy.port)
        await fleet.says(b"recorded", b"received", qos=2)
        came = await publishes(connection, 2)
        connection.acknowledge(came[:1])
        assert await take(connection, 1) == [Released(came[0].packet_id)]
        proxy.cut()
    again, _ = await opened(broker)
    rest = await take(again, 2)
    # Never the first PUBLISH again: the broker has its PUBREC.
    assert [r for r in rest if isinstance(r, Released)] == [Released(came[0].packet_id)]
    (second,) = [p for p in rest if isinstance(p, Publish)]
    assert (second.payload, second.dup, second.packet_id) == (b"received", True, came[1].packet_id)


async def test_an_oversized_publish_at_qos_2_is_skimmed_and_goes_its_four_steps(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    large = b"x" * (3 << 20)
    connection, _ = await opened(broker, f"{fleet.base}/#", qos=2)
    await fleet.says(large, qos=2)
    (skimmed,) = await publishes(connection, 1)
    assert (skimmed.size, len(skimmed.payload), skimmed.qos) == (len(large), HEAD, 2)
    connection.acknowledge([skimmed])
    assert await take(connection, 1) == [Released(skimmed.packet_id)]
    connection.complete([Released(skimmed.packet_id)])


async def test_a_publish_that_is_not_allowed_is_refused_with_the_reason(opened: Open) -> None:
    server = MosquittoServer()
    acl = server.folder / "acl"
    acl.write_text("topic read #\ntopic write allowed/#\n")
    server.extra.append(f"acl_file {acl}")
    server.start()
    try:
        connection, _ = await opened(at(server.port))
        await connection.publish("allowed/x", b"")
        with pytest.raises(BrokerRefused, match="refused the publish: not authorized") as refused:
            await connection.publish("secret/x", b"")
        assert refused.value.code == 0x87
        await connection.publish("allowed/x", b"the connection goes on")
    finally:
        server.destroy()


async def test_connect_announces_what_it_should_and_nothing_that_makes_a_broker_drop(opened: Open) -> None:
    seen: list[mqtt5.ConnectPacket] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect, _ = mqtt5.read(memoryview(await read_packet(reader)))
        assert isinstance(connect, mqtt5.ConnectPacket)
        seen.append(connect)
        writer.write(CONNACK)
        assert await read_packet(reader) == b"\xe0\x00"

    async with scripted_server(script) as port:
        connection, connected = await opened(
            at(port), username="u", password="pä", keep_alive_s=17, session_expiry_s=99, receive_maximum=123
        )
        await connection.close()
    (connect,) = seen
    assert not connected.session_present
    assert (connect.username, connect.password) == ("u", "pä".encode())
    assert (connect.clean_start, connect.session_expiry_interval) == (False, 99)
    assert (connect.receive_max, connect.keep_alive) == (123, 17)
    assert (connect.topic_alias_max, connect.max_packet_size) == (0, None)


async def test_the_keep_alive_that_the_broker_asks_for_counts(opened: Open) -> None:
    pings = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pings
        await read_packet(reader)
        writer.write(mqtt5.ConnAckPacket(server_keep_alive=1).write())
        while await read_packet(reader) == b"\xc0\x00":
            pings += 1
            writer.write(b"\xd0\x00")

    async with scripted_server(script) as port:
        await opened(at(port), keep_alive_s=600)
        await until(lambda: pings >= 2)


async def test_every_filter_gets_its_own_answer_from_suback(opened: Open) -> None:
    subscribed: list[mqtt5.SubscribePacket] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(CONNACK)
        subscribe, _ = mqtt5.read(memoryview(await read_packet(reader)))
        assert isinstance(subscribe, mqtt5.SubscribePacket)
        subscribed.append(subscribe)
        code = mqtt5.SubAckReasonCode
        codes = [code.GRANTED_QOS_EXACTLY_ONCE, code.NOT_AUTHORIZED, code.GRANTED_QOS_AT_MOST_ONCE]
        writer.write(mqtt5.SubAckPacket(subscribe.packet_id, codes, reason_str="ask the admin").write())
        await read_packet(reader)

    async with scripted_server(script) as port:
        connection, _ = await opened(at(port))
        granted = await connection.subscribe(
            [Subscription("a", 2), Subscription("b"), Subscription("$share/g/c", 0)]
        )
        assert [(g.topic_filter, g.qos) for g in granted] == [("a", 2), ("b", None), ("$share/g/c", 0)]
        assert granted[1].reason == "not authorized: ask the admin"
        filters = subscribed[0].topic_filters
        assert [(int(f.max_qos), int(f.retain_handling), f.retain_as_published) for f in filters] == [
            (2, 1, False),
            (1, 1, False),
            (0, 1, False),
        ]


async def test_our_publishes_keep_to_the_receive_maximum_of_the_broker(opened: Open) -> None:
    most = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        await read_packet(reader)
        writer.write(mqtt5.ConnAckPacket(receive_max=2).write())
        for _ in range(3):
            sent = [mqtt5.read(memoryview(await read_packet(reader)))[0] for _ in range(2)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            most = max(most, len(sent))
            writer.write(
                b"".join(
                    mqtt5.PubAckPacket(p.packet_id).write()
                    for p in sent
                    if isinstance(p, mqtt5.PublishPacket) and p.packet_id
                )
            )
        await read_packet(reader)

    async with scripted_server(script) as port:
        connection, _ = await opened(at(port))
        await asyncio.wait_for(asyncio.gather(*[connection.publish("a", b"") for _ in range(6)]), 5)
        assert most == 2


REFUSALS: dict[str, tuple[Callable[[], bytes], type[BrokerAway], int | None]] = {
    "banned": (
        lambda: mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.BANNED).write(),
        BrokerRefused,
        0x8A,
    ),
    "an old CONNACK, wrong version": (lambda: b"\x20\x02\x00\x01", BrokerRefused, 0x84),
    "an old CONNACK, wrong password": (lambda: b"\x20\x02\x00\x04", BrokerRefused, 0x86),
    "an old CONNACK, accepted": (lambda: b"\x20\x02\x00\x00", BrokerRefused, 0x84),
    "nothing": (lambda: b"", NoConnack, None),
    "half a CONNACK": (lambda: CONNACK[:4], NoConnack, None),
    "rubbish": (lambda: b"\x00\x00\x00\x00", ProtocolBroken, None),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS.keys())
async def test_connect_fails_with_the_reason_that_the_broker_gave(
    opened: Open, answer: tuple[Callable[[], bytes], type[BrokerAway], int | None]
) -> None:
    said, kind, code = answer

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(said())

    async with scripted_server(script) as port:
        with pytest.raises(kind) as error:
            await opened(at(port))
        assert type(error.value) is kind
        assert error.value.code == code


async def test_a_broker_that_repeats_the_password_in_its_reason_does_not_bring_it_into_our_log(
    opened: Open,
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        code = mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD
        writer.write(mqtt5.ConnAckPacket(reason_code=code, reason_str="no hunter2 here").write())

    async with scripted_server(script) as port:
        with pytest.raises(BrokerRefused, match=r"bad user name or password: no \*\*\* here"):
            await opened(at(port), username="u", password="hunter2")
