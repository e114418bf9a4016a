"""Conformance of every adapter, with a real broker."""

import asyncio
import time

import aiomqtt
import pytest

from handlers.events import Publish
from ingest.errors import BrokerAway, BrokerRefused
from ingest.mqtt.port import Released, Subscription
from tests.ingest.mqtt.conftest import Adapter, drain, publishes, take
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A client id and topic of the test's own."""
    return "".join(c for c in request.node.name if c.isalnum())[-60:]


async def send(broker: MosquittoServer, *messages: tuple[str, bytes, int], retain: bool = False) -> None:
    """Publish as a device does, and wait for the broker's answers."""
    async with aiomqtt.Client(broker.host, broker.port) as device:
        for topic, payload, qos in messages:
            await device.publish(topic, payload, qos, retain)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_publish_comes_in_as_it_was_sent(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str, qos: int
) -> None:
    connection, connected = await adapter.open(shared_mosquitto.port, name)
    assert (connected.protocol, connected.session_present) == (adapter.protocol, False)
    granted = await connection.subscribe([Subscription(f"{name}/#", 1), Subscription(f"x{name}", 0)])
    assert [one.qos for one in granted] == [1, 0]
    before = time.time_ns() // 1000
    await send(shared_mosquitto, (f"{name}/a", b"\x00\xff", qos), (f"{name}/b", b"", qos))
    first, second = await publishes(connection, 2)
    assert (first.topic, first.payload, first.qos, first.dup, first.retain) == (
        f"{name}/a",
        b"\x00\xff",
        qos,
        False,
        False,
    )
    assert (first.size, second.size, second.payload, bool(first.packet_id)) == (2, 0, b"", qos == 1)
    assert before <= first.received_at < second.received_at


async def test_a_faulty_filter_is_an_answer_and_disturbs_no_other(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    faulty = ["a/#/b", "", "a+", "a#", "$share/x", "a\0"]
    asked = [faulty[0], f"{name}/#", *faulty[1:], "$share/group/+/x"]
    granted = await connection.subscribe([Subscription(one) for one in asked])
    assert [one.topic_filter for one in granted] == asked
    assert [one.topic_filter for one in granted if one.qos is None] == faulty
    await connection.publish(f"{name}/a", b"1")
    assert len(await publishes(connection, 1)) == 1
    assert [one.qos for one in await connection.subscribe([Subscription("")])] == [None]


async def test_qos_2_is_answered_step_by_step_when_told(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    if adapter.protocol != "5":
        pytest.skip("subscribes with QoS 1 at most")
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await connection.subscribe([Subscription(name, 2)])
    await send(shared_mosquitto, (name, b"1", 2))
    (publish,) = await publishes(connection, 1)
    assert publish.qos == 2
    connection.acknowledge([publish])
    released = await take(connection, 1)
    assert released == [Released(publish.packet_id)]
    connection.complete([Released(publish.packet_id)])
    await send(shared_mosquitto, (name, b"2", 2))
    assert (await publishes(connection, 1))[0].payload == b"2"


async def test_what_was_not_acknowledged_comes_again_with_dup_and_its_packet_id(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await connection.subscribe([Subscription(name)])
    await send(shared_mosquitto, (name, b"1", 1), (name, b"2", 1), (name, b"3", 1))
    came = await publishes(connection, 3)
    connection.acknowledge(came[:1])
    await connection.close()
    connection.acknowledge(came[1:])
    connection, connected = await adapter.open(shared_mosquitto.port, name)
    assert connected.session_present
    again = await publishes(connection, 2)
    assert [(one.payload, one.dup) for one in again] == [(b"2", True), (b"3", True)]
    assert [one.packet_id for one in again] == [one.packet_id for one in came[1:]]


async def test_a_clean_start_has_no_session(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await connection.subscribe([Subscription(name)])
    await connection.close()
    _, connected = await adapter.open(shared_mosquitto.port, name, clean_start=True)
    assert not connected.session_present


async def test_the_receive_maximum_holds_back_what_is_not_acknowledged(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    if adapter.protocol != "5":
        pytest.skip("MQTT 3.1.1 has no receive maximum")
    connection, _ = await adapter.open(shared_mosquitto.port, name, receive_maximum=5)
    await connection.subscribe([Subscription(f"{name}/#")])
    await send(shared_mosquitto, *[(f"{name}/a", b"%d" % i, 1) for i in range(20)], (f"{name}/last", b"", 0))
    came = await publishes(connection, 6)
    assert [one.qos for one in came] == [1, 1, 1, 1, 1, 0]
    seen = list(came[:5])
    connection.acknowledge(came)
    while len(seen) < 20:
        more = [one for one in await connection.receive() if isinstance(one, Publish)]
        seen += more
        connection.acknowledge(more)
    assert [int(one.payload) for one in seen] == list(range(20))


async def test_a_frozen_broker_is_noticed_within_one_and_a_half_intervals(
    adapter: Adapter, mosquitto: MosquittoServer
) -> None:
    connection, _ = await adapter.open(mosquitto.port, "frozen", keep_alive_s=1)
    mosquitto.freeze()
    began = time.monotonic()
    _, ended = await drain(connection)
    assert time.monotonic() - began < 2.0
    assert "silent" in str(ended)


async def test_single_bytes_make_the_same_publishes(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    async with Proxy(shared_mosquitto.port) as proxy:
        proxy.byte_by_byte = True
        connection, _ = await adapter.open(proxy.port, name)
        await connection.subscribe([Subscription(name)])
        sent = [b"%d" % i * 100 for i in range(20)]
        await send(shared_mosquitto, *[(name, one, 1) for one in sent])
        assert [one.payload for one in await publishes(connection, 20)] == sent
        await connection.close()


async def test_an_oversized_payload_is_skimmed_and_acknowledged_like_any_other(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name, max_payload=1000)
    await connection.subscribe([Subscription(name)])
    large = bytes(range(256)) * 4000
    await send(
        shared_mosquitto, (name, b"small", 1), (name, large, 1), (name, large[:1001], 1), (name, b"end", 1)
    )
    came = await publishes(connection, 4)
    assert [one.size for one in came] == [5, len(large), 1001, 3]
    assert [one.payload for one in came] == [b"small", large[:1000], large[:1000], b"end"]
    connection.acknowledge(came)
    await connection.close()
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await send(shared_mosquitto, (name, b"new", 1))
    assert [one.payload for one in await publishes(connection, 1)] == [b"new"]


async def test_a_puback_that_never_arrived_brings_the_publish_again(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    async with Proxy(shared_mosquitto.port) as proxy:
        connection, _ = await adapter.open(proxy.port, name)
        await connection.subscribe([Subscription(name)])
        await send(shared_mosquitto, (name, b"1", 1))
        (first,) = await publishes(connection, 1)
        proxy.swallow = True
        connection.acknowledge([first])
        proxy.cut()
        with pytest.raises(BrokerAway):
            await take(connection, 1)
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    (again,) = await publishes(connection, 1)
    assert (again.dup, again.packet_id, again.payload) == (True, first.packet_id, b"1")


async def test_a_session_survives_the_broker_s_restart(adapter: Adapter, mosquitto: MosquittoServer) -> None:
    connection, _ = await adapter.open(mosquitto.port, "survivor")
    await connection.subscribe([Subscription("a")])
    await send(mosquitto, ("a", b"1", 1))
    await publishes(connection, 1)
    await asyncio.to_thread(mosquitto.restart)
    await drain(connection)
    connection, connected = await adapter.open(mosquitto.port, "survivor")
    assert connected.session_present
    assert (await publishes(connection, 1))[0].payload == b"1"


async def test_a_wrong_password_is_a_clear_refusal_that_does_not_repeat_it(adapter: Adapter) -> None:
    broker = MosquittoServer(users={"rollcall": "right"})
    try:
        broker.start()
        with pytest.raises(BrokerRefused) as refused:
            await adapter.open(broker.port, "c", username="rollcall", password="hunter2")
        assert refused.value.code in (0x86, 0x87)
        assert "authori" in str(refused.value)
        assert "hunter2" not in str(refused.value)
        await adapter.open(broker.port, "c", username="rollcall", password="right")
    finally:
        broker.destroy()


async def test_a_publish_that_reaches_nobody_is_said_where_the_protocol_can(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    assert await connection.publish(name, b"1") is (adapter.protocol != "5")
    await connection.subscribe([Subscription(name)])
    assert await connection.publish(name, b"2") is True
    await connection.close()


async def test_publish_returns_once_the_broker_has_it(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await connection.subscribe([Subscription(name)])
    await asyncio.gather(*[connection.publish(name, b"%d" % i) for i in range(50)])
    assert {int(one.payload) for one in await publishes(connection, 50)} == set(range(50))


async def test_a_second_connection_with_the_client_id_ends_the_first(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    first, _ = await adapter.open(shared_mosquitto.port, name)
    await adapter.open(shared_mosquitto.port, name)
    _, ended = await drain(first)
    assert "lost" in str(ended)


async def test_what_was_unsubscribed_comes_no_more_and_what_waits_still_does(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    given_up = [f"{name}/{n}" for n in range(9)] + [f"$share/{name}/{name}/s"]
    await connection.subscribe([Subscription(one) for one in [*given_up, f"{name}/kept"]])
    await send(shared_mosquitto, (f"{name}/0", b"before", 1))
    await connection.unsubscribe([*given_up, f"{name}/never", "a+"])
    await send(shared_mosquitto, *[(f"{name}/{n}", b"after", 1) for n in [*range(9), "s", "kept"]])
    assert [one.topic for one in await publishes(connection, 2)] == [f"{name}/0", f"{name}/kept"]
    await connection.close()
    with pytest.raises(BrokerAway):
        await connection.unsubscribe([f"{name}/kept"])


async def test_a_port_where_nobody_listens_is_away(adapter: Adapter, mosquitto: MosquittoServer) -> None:
    mosquitto.stop()
    with pytest.raises(BrokerAway, match="cannot be reached"):
        await adapter.open(mosquitto.port, "c")


async def test_a_broker_that_does_not_answer_is_away_in_time(
    adapter: Adapter, mosquitto: MosquittoServer
) -> None:
    mosquitto.freeze()
    with pytest.raises(BrokerAway, match=r"0\.2 s"):
        await adapter.open(mosquitto.port, "c", connect_timeout_s=0.2)


async def test_retained_publishes_come_on_the_first_subscribe_only(
    adapter: Adapter, shared_mosquitto: MosquittoServer, name: str
) -> None:
    await send(shared_mosquitto, (name, b"kept", 1), retain=True)
    connection, _ = await adapter.open(shared_mosquitto.port, name)
    await connection.subscribe([Subscription(name)])
    (kept,) = await publishes(connection, 1)
    assert kept.retain
    if adapter.protocol == "5":
        connection.acknowledge([kept])
        await connection.subscribe([Subscription(name)])
        await send(shared_mosquitto, (name, b"live", 1), retain=True)
        assert [(one.payload, one.retain) for one in await publishes(connection, 1)] == [(b"live", False)]
