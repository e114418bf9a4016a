"""NATS servers, devices that speak MQTT to them, and connections that are closed at the end."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import nats as library
import pytest
from nats.js.manager import JetStreamManager

from handlers.events import Publish
from ingest.clock import StrictClock
from ingest.integrations.cluster import Cluster
from ingest.jetstream.connection import JetStreamConnection
from ingest.mqtt.port import Broker, Connected, Subscription
from tests.servers.nats import NatsServer
from tests.servers.started import started

WITHIN_S = 10.0
_numbers = itertools.count(1)
Opened = tuple[JetStreamConnection, Connected]
Open = Callable[..., Awaitable[Opened]]


@pytest.fixture(scope="module")
def shared_nats() -> Iterator[NatsServer]:
    """A server for the tests that do not stop it; each has topics and client ids of its own."""
    with started(NatsServer()) as server:
        asyncio.run(visited(server))
        yield server


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """A server of one's own, which no MQTT client has visited yet."""
    with started(NatsServer()) as server:
        yield server


@pytest.fixture
def name() -> str:
    """A client id and first topic level of the test's own."""
    return f"own{next(_numbers)}"


async def visited(server: NatsServer) -> None:
    """Connect as a device, so that the server makes its streams."""
    async with aiomqtt.Client(server.host, server.mqtt_port, identifier="visitor"):
        pass


async def send(server: NatsServer, *messages: tuple[str, bytes, int], retain: bool = False) -> None:
    """Publish as a device does, and wait for the server's answers."""
    identifier = f"device-{next(_numbers)}"
    async with aiomqtt.Client(server.host, server.mqtt_port, identifier=identifier) as device:
        for topic, payload, qos in messages:
            await device.publish(topic, payload, qos, retain)


@asynccontextmanager
async def manager(server: NatsServer) -> AsyncIterator[JetStreamManager]:
    """Somebody else who looks at the server's streams and changes them."""
    client = await library.connect(f"nats://{server.address}")
    try:
        yield client.jsm()
    finally:
        await client.close()


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open a connection and read `filters`: `opened(address, client_id, *filters)`; closed at the end."""
    connections: list[JetStreamConnection] = []

    async def open_one(address: str, client_id: str, *filters: str, **changes: Any) -> Opened:
        cluster = {k: changes.pop(k) for k in ("ack_wait_s", "qos_0", "max_ahead_s") if k in changes}
        clock = changes.pop("clock", None) or StrictClock()
        host, port = address.split(":")
        broker = Broker(host, int(port), client_id, **changes)
        connection = JetStreamConnection(broker, Cluster((address,), **cluster), filters, clock)
        connections.append(connection)
        connected = await asyncio.wait_for(connection.connect(), WITHIN_S)
        if filters:
            granted = await connection.subscribe([Subscription(one) for one in filters])
            assert [one.qos for one in granted] == [1 for _ in filters]
        return connection, connected

    yield open_one
    for connection in connections:
        await asyncio.wait_for(connection.close(), WITHIN_S)


async def take(connection: JetStreamConnection, count: int) -> list[Publish]:
    """Receive exactly `count`, within a bound."""
    taken: list[Publish] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < count:
            taken += [one for one in await connection.receive() if isinstance(one, Publish)]
    assert len(taken) == count
    return taken
