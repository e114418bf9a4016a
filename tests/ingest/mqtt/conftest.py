"""Fixtures of the conformance suite: a broker, an adapter by protocol, and that adapter's bytes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiomqtt
import pytest

from handlers.events import Publish
from ingest.clock import StrictClock
from ingest.errors import BrokerAway
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Broker, Connected, Connection, Inbound, Subscription
from tests.servers.mosquitto import MosquittoServer

WITHIN_S = 10.0
Open = Callable[..., Awaitable[tuple[Connection, Connected]]]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_mosquitto() -> Iterator[MosquittoServer]:
    """A broker for the tests that do not stop it; each has topics and client ids of its own."""
    yield from _running(MosquittoServer())


@pytest.fixture
def mosquitto() -> Iterator[MosquittoServer]:
    """A broker of one's own."""
    yield from _running(MosquittoServer())


def _running(server: MosquittoServer) -> Iterator[MosquittoServer]:
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@dataclass
class Adapter:
    """Opens connections with one protocol and knows how its packets look."""

    protocol: str
    opened: list[Connection] = field(default_factory=list)

    @property
    def connack(self) -> bytes:
        return b"\x20\x03\x00\x00\x00" if self.protocol == "5" else b"\x20\x02\x00\x00"

    async def open(self, port: int, client_id: str, **changes: Any) -> tuple[Connection, Connected]:
        broker = Broker("127.0.0.1", port, client_id, **changes)
        opened = await asyncio.wait_for(open_connection(self.protocol, broker, StrictClock()), WITHIN_S)
        self.opened.append(opened[0])
        return opened

    def publish(self, topic: str, payload: bytes, qos: int = 1, packet_id: int = 1) -> bytes:
        name = topic.encode()
        body = len(name).to_bytes(2, "big") + name + (packet_id.to_bytes(2, "big") if qos else b"")
        body += (b"\x00" if self.protocol == "5" else b"") + payload
        assert len(body) < 128
        return bytes([0x30 | qos << 1, len(body)]) + body


@pytest.fixture(params=["5", "3.1.1"])
async def adapter(request: pytest.FixtureRequest) -> AsyncIterator[Adapter]:
    """Every adapter in turn; what a test opened is closed."""
    adapter = Adapter(request.param)
    yield adapter
    for connection in adapter.opened:
        await asyncio.wait_for(connection.close(), WITHIN_S)


async def take(connection: Connection, count: int) -> list[Inbound]:
    """Receive exactly `count`, within a bound."""
    taken: list[Inbound] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < count:
            taken += await connection.receive()
    assert len(taken) == count
    return taken


async def publishes(connection: Connection, count: int) -> list[Publish]:
    """Receive exactly `count` publishes and nothing else."""
    taken = await take(connection, count)
    found = [one for one in taken if isinstance(one, Publish)]
    assert len(found) == count
    return found


async def drain(connection: Connection) -> tuple[list[Inbound], BrokerAway]:
    """Receive until the connection ends; return what came and why it ended."""
    taken: list[Inbound] = []
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                taken += await connection.receive()
            except BrokerAway as ended:
                return taken, ended


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, within a bound."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = condition()
            if (await answer) if not isinstance(answer, bool) else answer:
                return
            await asyncio.sleep(0.01)


class Fleet:
    """Publishes as devices do, to topics below `base`."""

    def __init__(self, port: int, base: str) -> None:
        self.port = port
        self.base = base

    async def says(self, *payloads: bytes, qos: int = 1) -> None:
        """Publish each payload to {base}/{its index}; from QoS 1 on the broker has them when this returns."""
        async with aiomqtt.Client("127.0.0.1", self.port, identifier=f"device-{next(_numbers)}") as client:
            for index, payload in enumerate(payloads):
                await client.publish(f"{self.base}/{index}", payload, qos=qos)


@pytest.fixture
def broker(shared_mosquitto: MosquittoServer) -> Broker:
    """How to reach the shared broker, with a client id that no other test uses."""
    return Broker("127.0.0.1", shared_mosquitto.port, f"rollcall-{next(_numbers)}")


@pytest.fixture
def fleet(broker: Broker) -> Fleet:
    """Devices at the shared broker."""
    return Fleet(broker.port, f"fleet{next(_numbers)}")


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Return every protocol in turn."""
    return str(request.param)


@pytest.fixture
async def opened(protocol: str) -> AsyncIterator[Open]:
    """Open connections to a `Broker`, changed by keyword, and subscribe to topics; closed at the end."""
    connections: list[Connection] = []

    async def open_one(
        broker: Broker, *topics: str, qos: int = 1, **changes: Any
    ) -> tuple[Connection, Connected]:
        changed = replace(broker, **changes)
        connection, connected = await open_connection(protocol, changed, StrictClock())
        connections.append(connection)
        if topics:
            granted = await connection.subscribe([Subscription(topic, qos) for topic in topics])
            assert [one.qos for one in granted] == [qos for _ in topics]
        return connection, connected

    yield open_one
    for connection in connections:
        await asyncio.wait_for(connection.close(), WITHIN_S)
