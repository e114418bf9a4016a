"""The adapters' conformance suite, as far as it applies to JetStream, with a real server."""

import asyncio
import re
import time

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from ingest.clock import StrictClock
from ingest.errors import BrokerAway, BrokerRefused
from ingest.jetstream import former, pull
from ingest.jetstream.connection import JetStreamConnection
from ingest.jetstream.consumers import STREAM, durables
from ingest.mqtt.port import Subscription
from tests.ingest.jetstream.conftest import WITHIN_S, Open, manager, send, take, visited
from tests.servers.nats import NatsServer
from tests.servers.proxy import Proxy
from tests.servers.started import started
from tests.waiting import until


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_publish_comes_in_as_it_was_sent(
    shared_nats: NatsServer, opened: Open, name: str, qos: int
) -> None:
    connection, connected = await opened(shared_nats.address, name, f"{name}/#")
    assert (connected.protocol, connected.session_present) == ("jetstream", False)
    before = time.time_ns() // 1000
    await send(shared_nats, (f"{name}/a", b"\x00\xff", qos), (f"{name}//b/", b"", qos))
    first, second = await take(connection, 2)
    assert (first.topic, first.payload, first.qos, first.dup, first.retain) == (
        f"{name}/a",
        b"\x00\xff",
        qos,
        False,
        False,
    )
    assert (first.size, second.size, second.topic, bool(first.packet_id)) == (2, 0, f"{name}//b/", qos == 1)
    assert before <= first.received_at < second.received_at <= time.time_ns() // 1000


async def test_where_qos_0_is_not_wanted_only_qos_1_comes(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", qos_0=False)
    await send(shared_nats, (f"{name}/a", b"0", 0), (f"{name}/a", b"1", 1))
    assert [one.payload for one in await take(connection, 1)] == [b"1"]


async def test_a_filter_that_nats_cannot_have_is_an_answer_and_disturbs_no_other(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name)
    granted = await connection.subscribe([Subscription(f"{name} /a"), Subscription(f"{name}/a")])
    assert [one.qos for one in granted] == [None, 1]
    await send(shared_nats, (f"{name}/a", b"1", 1))
    await take(connection, 1)


async def test_what_was_not_acknowledged_comes_again_as_the_same_event(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", ack_wait_s=1)
    await send(shared_nats, *[(f"{name}/a", b"%d" % n, 1) for n in range(3)])
    came = await take(connection, 3)
    connection.acknowledge(came[:1])
    await connection.close()
    connection.acknowledge(came[1:])
    connection, connected = await opened(shared_nats.address, name, f"{name}/+", ack_wait_s=1)
    assert connected.session_present
    again = sorted(await take(connection, 2))
    assert again == [one._replace(dup=True) for one in came[1:]]


async def test_what_was_not_acknowledged_at_an_orderly_end_comes_to_another_long_before_ack_wait(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    first, _ = await opened(shared_nats.address, name, f"{name}/+", ack_wait_s=60)
    await send(shared_nats, *[(f"{name}/{n}", b"x", 1) for n in range(50)])
    came = await take(first, 50)
    first.acknowledge(came[:10])
    await first.close()
    second, _ = await opened(shared_nats.address, name, f"{name}/+", ack_wait_s=60)
    again = await take(second, 40)
    assert sorted(again) == sorted(one._replace(dup=True) for one in came[10:])


async def test_replicas_share_what_comes_and_it_comes_once(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    replicas = [(await opened(shared_nats.address, name, f"{name}/+"))[0] for _ in range(2)]
    came: list[list[bytes]] = [[], []]

    async def read(which: int) -> None:
        while True:
            publishes = await take(replicas[which], 1)
            came[which] += [one.payload for one in publishes]
            replicas[which].acknowledge(publishes)

    reading = [asyncio.create_task(read(which)) for which in range(2)]
    sent = [b"%d" % n for n in range(50)]
    for one in sent:
        await send(shared_nats, (f"{name}/a", one, 1))
    await until(lambda: len(came[0]) + len(came[1]) >= 50, WITHIN_S, "all came")
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    assert sorted(came[0] + came[1]) == sorted(sent)
    assert came[0]
    assert came[1]


async def test_paused_it_asks_for_no_more_and_resumed_it_goes_on(
    shared_nats: NatsServer, opened: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "BATCH", 5)
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", qos_0=False)
    await send(shared_nats, (f"{name}/a", b"", 1))
    await take(connection, 1)
    connection.pause()
    await send(shared_nats, *[(f"{name}/a", b"%d" % n, 1) for n in range(20)])
    await until(
        lambda: _waiting(shared_nats, name, at_the_server=16, in_hand=5), WITHIN_S, "16 wait at the server"
    )
    connection.resume()
    assert [int(one.payload) for one in await take(connection, 20)] == list(range(20))


async def test_at_most_max_ack_pending_are_in_hand(shared_nats: NatsServer, opened: Open, name: str) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", receive_maximum=5, qos_0=False)
    await send(shared_nats, *[(f"{name}/a", b"%d" % n, 1) for n in range(20)])
    seen = await take(connection, 5)
    connection.acknowledge(seen)
    while len(seen) < 20:
        more = await take(connection, 5)
        connection.acknowledge(more)
        seen += more
    assert [int(one.payload) for one in seen] == list(range(20))


async def test_an_oversized_payload_keeps_its_head_and_is_acknowledged_like_any_other(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", max_payload=1000)
    large = bytes(range(256)) * 4000
    await send(shared_nats, (f"{name}/a", large, 1), (f"{name}/a", large[:1001], 1), (f"{name}/a", b"end", 1))
    came = await take(connection, 3)
    assert [one.size for one in came] == [len(large), 1001, 3]
    assert [one.payload for one in came] == [large[:1000], large[:1000], b"end"]
    connection.acknowledge(came)
    await _until_all_heard(connection)


async def test_it_has_heard_up_to_the_oldest_message_that_is_not_acknowledged(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", f"{name}/b/+")
    await send(shared_nats, *[(f"{name}/{n}", b"", 1) for n in range(3)])
    first, second, third = await take(connection, 3)
    assert await connection.heard_until() == first.received_at - 1
    connection.acknowledge([first])
    await until(lambda: _heard(connection, second.received_at - 1), WITHIN_S, "heard up to the second")
    connection.acknowledge([second, third])
    await _until_all_heard(connection)


async def test_a_stamp_too_far_in_the_future_is_not_taken_and_the_log_says_so_once(
    shared_nats: NatsServer, opened: Open, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def an_hour_ago() -> int:
        return (time.time_ns() - 3_600 * 10**9) // 1_000

    connection, _ = await opened(shared_nats.address, name, f"{name}/+", clock=an_hour_ago)
    before = an_hour_ago()
    await send(shared_nats, (f"{name}/a", b"", 1), (f"{name}/a", b"", 1))
    assert all(before <= one.received_at <= an_hour_ago() for one in await take(connection, 2))
    assert len(re.findall("clock is 3600 s ahead", caplog.text)) == 1


async def test_a_cut_connection_is_away_and_nothing_is_lost(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    async with Proxy(shared_nats.port) as proxy:
        connection, _ = await opened(f"127.0.0.1:{proxy.port}", name, f"{name}/+", ack_wait_s=1)
        await send(shared_nats, (f"{name}/a", b"1", 1))
        came = await take(connection, 1)
        proxy.swallow = True
        connection.acknowledge(came)
        proxy.cut()
        with pytest.raises(BrokerAway, match="lost"):
            await take(connection, 1)
    connection, _ = await opened(shared_nats.address, name, f"{name}/+", ack_wait_s=1)
    assert await take(connection, 1) == [came[0]._replace(dup=True)]


async def test_a_removed_consumer_is_away_and_made_anew(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+")
    (durable,) = durables(name, [f"{name}.*"])
    async with manager(shared_nats) as someone:
        await someone.delete_consumer(STREAM, durable.name)
    with pytest.raises(BrokerAway, match="is gone"):
        await connection.heard_until()
    with pytest.raises(BrokerAway, match="is gone"):
        await take(connection, 1)
    _, connected = await opened(shared_nats.address, name, f"{name}/+")
    assert not connected.session_present


async def test_what_waits_for_filters_that_are_given_up_is_read_and_then_their_consumers_are_removed(
    shared_nats: NatsServer, opened: Open, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where sessions never expire: such a consumer would hold the stream's messages for ever."""
    monkeypatch.setattr(former, "KEPT_S", 1.0)
    before, _ = await opened(shared_nats.address, name, f"{name}/old/+", f"{name}/kept", session_expiry_s=0)
    await opened(shared_nats.address, f"{name}-other", f"{name}/old/+")
    await before.close()
    await send(shared_nats, *[(f"{name}/old/{n}", b"x", 1) for n in range(3)])
    after, _ = await opened(shared_nats.address, name, f"{name}/new", f"{name}/kept", session_expiry_s=0)
    began_at = StrictClock()()
    await after.give_up_others()
    came = await take(after, 3)
    assert sorted(one.topic for one in came) == [f"{name}/old/{n}" for n in range(3)]
    assert await after.heard_until() < began_at
    after.acknowledge(came)
    kept = {one.name for one in durables(name, [f"{name}.new", f"{name}.kept"])}
    kept |= {one.name for one in durables(f"{name}-other", [f"{name}.old.*"])}

    async def removed() -> bool:
        async with manager(shared_nats) as someone:
            infos = await someone.consumers_info(STREAM)
        return {one.name for one in infos if re.match(rf"{name}-", one.name)} == kept

    await until(removed, 10, "the consumers of what is given up are removed, and no other")
    assert await after.heard_until() > began_at


async def test_a_consumer_of_the_name_that_is_something_else_is_an_error_in_words(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name)
    (durable,) = durables(name, [f"{name}.*"])
    other = ConsumerConfig(
        durable_name=durable.name, filter_subject="$MQTT.msgs.other", ack_policy=AckPolicy.NONE
    )
    async with manager(shared_nats) as someone:
        await someone.add_consumer(STREAM, other)
    with pytest.raises(BrokerAway, match="not as it should be"):
        await connection.subscribe([Subscription(f"{name}/+")])


async def test_a_wrong_password_is_a_clear_refusal_that_does_not_repeat_it(opened: Open) -> None:
    with started(NatsServer(extra="authorization { user: rollcall, password: right }")) as server:
        with pytest.raises(BrokerRefused, match=r"(?i)not authorized") as refused:
            await opened(server.address, "c", username="rollcall", password="hunter2")
        assert refused.value.code == 0x87
        assert "hunter2" not in str(refused.value)


async def test_before_any_device_has_connected_it_is_away_and_says_so(nats: NatsServer, opened: Open) -> None:
    with pytest.raises(BrokerAway, match="no MQTT client has connected"):
        await opened(nats.address, "c", "a/+")
    await visited(nats)
    await opened(nats.address, "c", "a/+")


async def test_a_port_where_nobody_listens_is_away(nats: NatsServer, opened: Open) -> None:
    nats.stop()
    with pytest.raises(BrokerAway, match="can be reached"):
        await opened(nats.address, "c", "a/+")


async def test_published_it_comes_to_whoever_is_subscribed_and_nothing_is_retained(
    shared_nats: NatsServer, opened: Open, name: str
) -> None:
    connection, _ = await opened(shared_nats.address, name, f"{name}/+")
    await connection.publish(f"{name}/a", b"1")
    assert [(one.payload, one.qos) for one in await take(connection, 1)] == [(b"1", 0)]
    with pytest.raises(BrokerRefused, match="retained"):
        await connection.publish(f"{name}/a", b"1", retain=True)


async def _waiting(server: NatsServer, name: str, *, at_the_server: int, in_hand: int) -> bool:
    (durable,) = durables(name, [f"{name}.*"])
    async with manager(server) as someone:
        info = await someone.consumer_info(STREAM, durable.name)
    return (info.num_pending, info.num_ack_pending) == (at_the_server, in_hand)


async def _heard(connection: JetStreamConnection, until_when: int) -> bool:
    return await connection.heard_until() == until_when


async def _until_all_heard(connection: JetStreamConnection) -> None:
    now = time.time_ns() // 1000

    async def heard() -> bool:
        return await connection.heard_until() > now

    await until(heard, WITHIN_S, "all of it is heard")
