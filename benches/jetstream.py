"""Drain a stream of one NATS server: only fetching and acknowledging, then Rollcall with one and with two replicas."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import nats
import orjson
from nats.aio.client import Client

from benches.load import backlog
from benches.world import INTEGRATION, SEED
from handlers.topics import Topics
from ingest.jetstream.cluster import Cluster
from ingest.jetstream.connection import JetStreamConnection
from ingest.jetstream.consumers import PREFIX, STREAM, durables
from ingest.jetstream.subjects import subjects_of
from ingest.migrate.runner import migrate
from ingest.mqtt.clock import StrictClock
from ingest.mqtt.port import Broker, Subscription
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started

WITHIN_S = 300.0
POLL_S = 0.02
FILTERS = Topics.parse(None).filters()
CLIENT_ID = f"rollcall-{INTEGRATION}-jetstream"


class Rate(NamedTuple):
    """What was drained, by whom, how fast."""

    contender: str
    messages: int
    per_second: float


def jetstream(messages: int, devices: int) -> list[Rate]:
    """Measure all three; each begins with the same backlog."""
    return asyncio.run(_all(messages, devices))


async def _all(messages: int, devices: int) -> list[Rate]:
    with started(NatsServer()) as server, started(PostgresServer(durable=True)) as postgres:
        postgres.psql("create database fleet")
        await migrate(postgres.dsn("fleet"))
        settings = {"protocol": "jetstream", "nats": {"servers": [server.address]}}
        seed = SEED.format(id=INTEGRATION, settings=orjson.dumps(settings).decode(), devices=devices)
        postgres.psql(seed, "fleet")
        await _streams_made(server)
        rates = [Rate("fetch and ack only", messages, await _ceiling(server, messages, devices))]
        for replicas in (1, 2):
            database = f"fleet_{replicas}"
            postgres.psql(f"create database {database} template fleet")
            rate = await _rollcall(server, postgres.dsn(database), messages, devices, replicas)
            rates.append(Rate(f"Rollcall, replicas: {replicas}", messages, rate))
        return rates


async def _streams_made(server: NatsServer) -> None:
    """Connect as an MQTT client once: CONNECT of 3.1.1, until CONNACK."""
    reader, writer = await asyncio.open_connection(server.host, server.mqtt_port)
    writer.write(bytes([0x10, 13]) + b"\0\4MQTT\4\2\0\x3c\0\1b")
    await asyncio.wait_for(reader.readexactly(4), 30)
    writer.close()


@asynccontextmanager
async def _backlog(server: NatsServer, messages: int, devices: int) -> AsyncIterator[tuple[Client, str]]:
    """Make the consumers, put the backlog into the stream as the server does, and look on."""
    host, port = server.host, server.port
    maker = JetStreamConnection(Broker(host, port, CLIENT_ID), _cluster(server), FILTERS, StrictClock())
    await maker.connect()
    await maker.subscribe([Subscription(one) for one in FILTERS])
    await maker.close()
    client = await nats.connect(f"nats://{server.address}")
    for topic, body in backlog(messages, devices):
        await client.publish(PREFIX + topic.replace("/", "."), body, headers={"Nmqtt-Pub": "1"})
    await client.flush(60)
    telemetry = durables(CLIENT_ID, subjects_of(FILTERS[0]))[0].name
    await _until_left(client, telemetry, messages)
    try:
        yield client, telemetry
    finally:
        await client.close()


def _cluster(server: NatsServer) -> Cluster:
    return Cluster((server.address,), qos_0=False)


async def _ceiling(server: NatsServer, messages: int, devices: int) -> float:
    async with _backlog(server, messages, devices) as (client, telemetry):
        broker = Broker(server.host, server.port, CLIENT_ID)
        connection = JetStreamConnection(broker, _cluster(server), FILTERS, StrictClock())
        await connection.connect()
        began, taken = time.monotonic(), 0
        await connection.subscribe([Subscription(one) for one in FILTERS])
        while taken < messages:
            publishes = await connection.receive()
            taken += len(publishes)
            connection.acknowledge(publishes)  # type: ignore[arg-type]
        await _until_left(client, telemetry, 0)
        spent = time.monotonic() - began
        await connection.close()
        return messages / spent


async def _rollcall(server: NatsServer, database: str, messages: int, devices: int, replicas: int) -> float:
    async with _backlog(server, messages, devices) as (client, telemetry):
        log = Path(tempfile.gettempdir()) / f"rollcall-bench-{uuid4().hex}"
        processes = [RollcallProcess(database, log) for _ in range(replicas)]
        try:
            for process in processes:
                process.start()
            await _until_left(client, telemetry, messages - 1)
            began, left = time.monotonic(), await _left(client, telemetry)
            await _until_left(client, telemetry, 0)
            return left / (time.monotonic() - began)
        finally:
            for process in processes:
                process.stop()
            log.unlink(missing_ok=True)


async def _left(client: Client, durable: str) -> int:
    info = await client.jsm().consumer_info(STREAM, durable)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def _until_left(client: Client, durable: str, count: int) -> None:
    """Wait until so many, or fewer, are not acknowledged; at the start: until all are there."""
    end = time.monotonic() + WITHIN_S
    whole = (await _left(client, durable)) < count
    while (left := await _left(client, durable)) > count or (whole and left < count):
        if time.monotonic() > end:
            raise RuntimeError(f"{left} are left")
        await asyncio.sleep(POLL_S)


def as_lines(rates: list[Rate]) -> list[str]:
    """Return the table."""
    lines = ["| reader | messages | messages/s | of the first |", "|---|---|---|---|"]
    return lines + [
        f"| {one.contender} | {one.messages} | {one.per_second:,.0f} | {one.per_second / rates[0].per_second:.2f} |"
        for one in rates
    ]
