"""The protocol that is spoken, and the wait before the next attempt."""

import asyncio
import random

import pytest

from ingest.backoff import Backoff
from ingest.clock import StrictClock
from ingest.errors import BrokerAway, BrokerRefused, Misconfigured
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Broker
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scripted import read_packet, scripted_server


async def _opened(port: int) -> str:
    connection, connected = await open_connection("auto", Broker("127.0.0.1", port, "auto"), StrictClock())
    await connection.close()
    return connected.protocol


async def test_auto_speaks_5_where_the_broker_does(shared_mosquitto: MosquittoServer) -> None:
    assert await _opened(shared_mosquitto.port) == "5"


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x20\x02\x00\x01", b"\x20\x02\x00\x00", b"\x20\x03\x00\x84\x00"],
    ids=["closes", "3.1.1 CONNACK", "3.1.1 CONNACK that accepts", "5 CONNACK"],
)
async def test_auto_falls_back_where_the_broker_refuses_5(answer: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        level = (await read_packet(reader))[8]
        writer.write(answer if level == 5 else b"\x20\x02\x00\x00")
        if level == 4:
            await read_packet(reader)

    async with scripted_server(script) as port:
        assert await _opened(port) == "3.1.1"


async def test_auto_does_not_fall_back_for_a_wrong_password() -> None:
    broker = MosquittoServer(users={"rollcall": "right"})
    try:
        broker.start()
        with pytest.raises(BrokerRefused):
            await _opened(broker.port)
        assert "p2" not in broker.log.read_text()
    finally:
        broker.destroy()


async def test_auto_does_not_fall_back_where_nobody_listens(mosquitto: MosquittoServer) -> None:
    mosquitto.stop()
    with pytest.raises(BrokerAway, match="cannot be reached"):
        await _opened(mosquitto.port)


async def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="'auto'"):
        await open_connection("4", Broker("127.0.0.1", 1, "c"), StrictClock())


def test_the_wait_grows_to_its_cap_for_ever_and_begins_again() -> None:
    backoff = Backoff(random.Random(1))
    waits = [backoff.next() for _ in range(5000)]
    assert all(wait <= min(5.0, 0.5 * 2.0 ** min(i, 32)) for i, wait in enumerate(waits))
    assert max(waits) > 4.9
    assert max(backoff.next(refused=True) for _ in range(100)) > 280
    backoff.reset()
    assert backoff.next() <= 0.5


def test_the_clock_never_stands_still() -> None:
    clock = StrictClock()
    times = [clock() for _ in range(10_000)]
    assert times == sorted(set(times))


def test_who_was_away_for_long_and_is_refused_then_is_asked_again_as_after_a_first_refusal() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(20):
        backoff.next()
    assert backoff.next(refused=True) <= 0.5


@pytest.mark.parametrize(("code", "passes"), [(0x88, True), (0x89, True), (0x86, False), (0x87, False)])
def test_what_a_broker_says_of_itself_passes_and_what_it_says_of_us_does_not(code: int, passes: bool) -> None:
    assert BrokerRefused(code, "no").passes is passes
