"""Both adapters at length against a real Mosquitto: sessions, back-pressure, keep-alive."""

import asyncio
import time

import pytest

from ingest.errors import BrokerAway
from ingest.mqtt.port import Broker, Subscription
from ingest.mqtt.skimming import HEAD
from tests.ingest.mqtt.conftest import Fleet, Open, publishes, until
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy

PINGREQ = b"\xc0\x00"


async def test_what_was_not_acknowledged_comes_again_as_duplicate_and_the_rest_does_not(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    async with Proxy(broker.port) as proxy:
        connection, connected = await opened(broker, f"{fleet.base}/#", port=proxy.port)
        assert not connected.session_present
        await fleet.says(b"0", b"1", b"2", b"3")
        came = await publishes(connection, 4)
        connection.acknowledge(came[:2])
        await connection.publish(
            f"elsewhere/{fleet.base}", b"the broker has read the PUBACKs before it answers this"
        )
        proxy.cut()
        with pytest.raises(BrokerAway, match="connection lost"):
            await connection.receive()
    again, connected = await opened(broker)
    assert connected.session_present
    redelivered = await publishes(again, 2)
    assert [(p.payload, p.dup, p.packet_id) for p in redelivered] == [
        (b"2", True, came[2].packet_id),
        (b"3", True, came[3].packet_id),
    ]


async def test_a_broker_that_lost_its_memory_says_that_no_session_is_present(
    opened: Open, mosquitto: MosquittoServer
) -> None:
    broker = Broker("127.0.0.1", mosquitto.port, "forgotten")
    await opened(broker, "r/#")
    mosquitto.kill9()
    mosquitto.start()
    _, connected = await opened(broker)
    assert not connected.session_present


async def test_closing_keeps_the_session_and_what_was_acknowledged_just_before(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    connection, _ = await opened(broker, f"{fleet.base}/#")
    await fleet.says(b"before", b"unacknowledged")
    came = await publishes(connection, 2)
    connection.acknowledge(came[:1])
    await connection.close()
    with pytest.raises(BrokerAway, match="closed by us"):
        await connection.receive()
    await fleet.says(b"while away")
    again, connected = await opened(broker)
    assert connected.session_present
    assert [p.payload for p in await publishes(again, 2)] == [b"unacknowledged", b"while away"]


async def test_a_payload_of_exactly_max_payload_is_whole(opened: Open, broker: Broker, fleet: Fleet) -> None:
    connection, _ = await opened(broker, f"{fleet.base}/#")
    await fleet.says(b"x" * broker.max_payload, b"x" * (broker.max_payload + 1))
    whole, cut = await publishes(connection, 2)
    assert (len(whole.payload), whole.size) == (broker.max_payload, broker.max_payload)
    assert (len(cut.payload), cut.size) == (HEAD, broker.max_payload + 1)


async def test_while_paused_nothing_is_read_and_afterwards_everything_comes(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    async with Proxy(broker.port) as proxy:
        connection, _ = await opened(broker, f"{fleet.base}/#", port=proxy.port, keep_alive_s=1)
        connection.pause()
        await fleet.says(b"0", b"1")
        sent_before = len(proxy.sent)
        # Four PINGREQs are two keep-alive intervals: a missing PINGRESP alone would have ended the connection.
        await until(lambda: proxy.sent[sent_before:] == PINGREQ * 4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.receive(), 0.05)
        connection.resume()
        assert [p.payload for p in await publishes(connection, 2)] == [b"0", b"1"]


async def test_a_connection_that_dies_while_paused_is_noticed(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    async with Proxy(broker.port) as proxy:
        connection, _ = await opened(broker, f"{fleet.base}/#", port=proxy.port, keep_alive_s=1)
        connection.pause()
        proxy.cut()
        with pytest.raises(BrokerAway, match="connection lost"):
            await asyncio.wait_for(connection.receive(), 3)


async def test_an_idle_connection_is_kept_alive(opened: Open, broker: Broker, fleet: Fleet) -> None:
    async with Proxy(broker.port) as proxy:
        connection, _ = await opened(broker, f"{fleet.base}/#", port=proxy.port, keep_alive_s=1)
        sent_before = len(proxy.sent)
        # Mosquitto cuts after 1.5 intervals without a packet; four pings are two intervals.
        await until(lambda: proxy.sent[sent_before:] == PINGREQ * 4)
        await fleet.says(b"still here")
        assert [p.payload for p in await publishes(connection, 1)] == [b"still here"]


async def test_a_peer_that_swallows_everything_is_noticed_though_we_keep_writing(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    async with Proxy(broker.port) as proxy:
        connection, _ = await opened(broker, f"{fleet.base}/#", port=proxy.port, keep_alive_s=2)
        proxy.stall()

        async def write_on() -> None:
            while True:
                await connection.publish(f"elsewhere/{fleet.base}", b"")

        began = time.monotonic()
        with pytest.raises(BrokerAway, match="keep-alive"):
            await asyncio.wait_for(write_on(), 10)
        # One and a half intervals, and half a second for a busy machine.
        assert time.monotonic() - began <= 3.5
        proxy.flow()


async def test_closing_towards_a_frozen_broker_is_bounded(opened: Open, mosquitto: MosquittoServer) -> None:
    connection, _ = await opened(Broker("127.0.0.1", mosquitto.port, "frozen"), "f/#")
    mosquitto.freeze()
    await asyncio.wait_for(connection.close(), 3)


async def test_twenty_filters_get_twenty_answers_in_order_and_a_bad_one_is_an_answer_too(
    opened: Open, broker: Broker, fleet: Fleet
) -> None:
    connection, _ = await opened(broker)
    filters = [f"{fleet.base}/{i}" for i in range(20)]
    filters[7] = f"{fleet.base}/#/more"
    filters[9] = filters[8]
    granted = await connection.subscribe([Subscription(name) for name in filters])
    assert [g.topic_filter for g in granted] == filters
    assert [g.qos for g in granted] == [1] * 7 + [None] + [1] * 12
    assert "not a valid topic filter" in granted[7].reason


async def test_many_publishes_at_once_are_all_confirmed(opened: Open, broker: Broker, fleet: Fleet) -> None:
    connection, _ = await opened(broker)
    await asyncio.wait_for(asyncio.gather(*[connection.publish(fleet.base, b"") for _ in range(200)]), 10)


async def test_a_receiver_that_is_cancelled_loses_nothing(opened: Open, broker: Broker, fleet: Fleet) -> None:
    connection, _ = await opened(broker, f"{fleet.base}/#")
    waiting = asyncio.create_task(connection.receive())
    await until(lambda: not waiting.done())
    waiting.cancel()
    await fleet.says(b"kept")
    assert [p.payload for p in await publishes(connection, 1)] == [b"kept"]
