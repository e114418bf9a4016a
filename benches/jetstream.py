"""Drain a stream of one NATS server: only fetching and acknowledging, then Rollcall's replicas, which share it."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import nats
import orjson
import psutil
import psycopg
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from benches.drain import rows_wrong
from benches.load import backlog, expected
from benches.process import cpu, start, stop
from benches.replicas import DONE
from benches.world import INTEGRATION, World
from handlers.topics import Topics
from ingest.clock import StrictClock
from ingest.integrations.cluster import Cluster
from ingest.jetstream.connection import JetStreamConnection
from ingest.jetstream.consumers import PREFIX, STREAM, durables
from ingest.jetstream.subjects import subjects_of
from ingest.mqtt.port import Broker, Subscription
from tests.servers.nats import NatsServer
from tests.servers.started import started

REPLICAS = (1, 2)
WITHIN_S = 300.0
POLL_S = 0.05
FILTERS = Topics.parse(None).filters()
CLIENT_ID = f"rollcall-{INTEGRATION}-jetstream"
TELEMETRY = durables(CLIENT_ID, subjects_of(FILTERS[0]))[0].name
SETTINGS = "update device_integrations set settings = settings || %s::jsonb"


class Fetched(NamedTuple):
    """What was drained, by whom, how fast."""

    reader: str
    messages: int
    per_second: float
    cpu_us: float
    """Of all replicas, a message."""
    server_cpu_us: float
    """Of nats-server, a message."""
    again: int
    """Deliveries beyond one a message."""
    rows_wrong: int


def jetstream(world: World, messages: int, devices: int) -> list[Fetched]:
    """Measure the ceiling, then devices that are known and devices that are not; each with the same backlog."""
    fetched = [asyncio.run(_ceiling(messages, devices))]
    for template in (world.known(devices), world.seed(devices)):
        for count in REPLICAS:
            fetched.append(asyncio.run(_rollcall(world, template, messages, devices, count)))
            print(fetched[-1], flush=True)
    return fetched


async def _ceiling(messages: int, devices: int) -> Fetched:
    with started(NatsServer()) as server:
        client = await _visited(server)
        connection = _connection(server)
        await connection.connect()
        await connection.subscribe([Subscription(one) for one in FILTERS])
        connection.pause()
        await _fill(client, messages, devices)
        before, began, taken = _spent([psutil.Process()], server), time.monotonic(), 0
        connection.resume()
        while taken < messages:
            publishes = await connection.receive()
            taken += len(publishes)
            connection.acknowledge(publishes)  # type: ignore[arg-type]
        await _until_drained(client)
        seconds, after = time.monotonic() - began, _spent([psutil.Process()], server)
        again = await _deliveries(client) - messages
        await connection.close()
        await client.close()
    return _fetched("fetch and acknowledge only", messages, seconds, before, after, again, 0)


async def _rollcall(world: World, template: str, messages: int, devices: int, count: int) -> Fetched:
    """Let the replicas connect, stop them, fill the stream, let them go on, wait for the last acknowledgement."""
    place = world.place(template, "rollcall")
    with started(NatsServer()) as server:
        client = await _visited(server)
        settings = {"protocol": "jetstream", "nats": {"servers": [server.address]}}
        with psycopg.connect(place.database, autocommit=True) as database:
            database.execute(SETTINGS, [orjson.dumps(settings).decode()])
        processes = [start("rollcall", place) for _ in range(count)]
        try:
            await _until_pulled_by(client, count)
            for process in processes:
                process.suspend()
            last_round = await _fill(client, messages, devices)
            before, began = _spent(processes, server), time.monotonic()
            for process in processes:
                process.resume()
            await _until_written(place.database, devices, last_round)
            await _until_drained(client)
            seconds, after = time.monotonic() - began, _spent(processes, server)
            again = await _deliveries(client) - messages
        finally:
            _stop(processes)
            await client.close()
    wrong = rows_wrong(place.database, expected(messages, devices))
    world.forget(place)
    reader = f"Rollcall, replicas: {count}, devices {'known' if 'known' in template else 'not known before'}"
    return _fetched(reader, messages, seconds, before, after, again, wrong)


class Spent(NamedTuple):
    """CPU seconds so far."""

    readers: float
    server: float


def _spent(readers: list[psutil.Popen], server: NatsServer) -> Spent:
    return Spent(sum(map(cpu, readers)), cpu(psutil.Process(server.pid)))


def _fetched(
    reader: str, messages: int, seconds: float, before: Spent, after: Spent, again: int, wrong: int
) -> Fetched:
    each = 1e6 / messages
    spent = (after.readers - before.readers) * each, (after.server - before.server) * each
    return Fetched(reader, messages, messages / seconds, *spent, again, wrong)


def _stop(processes: list[psutil.Popen]) -> None:
    for process in processes:
        process.resume()
        stop(process)


async def _visited(server: NatsServer) -> Client:
    """Connect as an MQTT client once (CONNECT of 3.1.1, until CONNACK): the server makes its streams then."""
    reader, writer = await asyncio.open_connection(server.host, server.mqtt_port)
    writer.write(bytes([0x10, 13]) + b"\0\4MQTT\4\2\0\x3c\0\1b")
    await asyncio.wait_for(reader.readexactly(4), 30)
    writer.close()
    return await nats.connect(f"nats://{server.address}")


def _connection(server: NatsServer) -> JetStreamConnection:
    broker = Broker(server.host, server.port, CLIENT_ID)
    return JetStreamConnection(broker, Cluster((server.address,), qos_0=False), FILTERS, StrictClock())


async def _fill(client: Client, messages: int, devices: int) -> int:
    """Put the backlog into the stream as the server does; return the time in the first of the last round."""
    last_round = 0
    for n, (topic, body) in enumerate(backlog(messages, devices)):
        if n == messages - devices:
            last_round = orjson.loads(body)["ts"]
        await client.publish(PREFIX + topic.replace("/", "."), body, headers={"Nmqtt-Pub": "1"})
    await client.flush(60)
    await _until(client, lambda left, waiting: left >= messages)
    return last_round


async def _until_written(url: str, devices: int, last_round: int) -> None:
    """Wait for the rows. To ask the server on the way would hold it up: it counts what is pending each time."""
    end = time.monotonic() + WITHIN_S
    with psycopg.connect(url, autocommit=True) as database:
        while database.execute(DONE, [last_round]).fetchone() != (devices,):
            if time.monotonic() > end:
                raise RuntimeError("the stream was not drained")
            await asyncio.sleep(POLL_S)


async def _until_pulled_by(client: Client, replicas: int) -> None:
    await _until(client, lambda left, waiting: waiting >= replicas)


async def _until_drained(client: Client) -> None:
    await _until(client, lambda left, waiting: left == 0)


async def _until(client: Client, done: Callable[[int, int], bool]) -> None:
    """Wait until `done` says so of the messages that are not acknowledged and the requests that wait."""
    end = time.monotonic() + WITHIN_S
    while not done(*await _standing(client)):
        if time.monotonic() > end:
            raise RuntimeError(f"(left, requests) are still {await _standing(client)}")
        await asyncio.sleep(POLL_S)


async def _standing(client: Client) -> tuple[int, int]:
    try:
        info = await client.jsm().consumer_info(STREAM, TELEMETRY)
    except NotFoundError:
        return 0, 0
    return (info.num_pending or 0) + (info.num_ack_pending or 0), info.num_waiting or 0


async def _deliveries(client: Client) -> int:
    info = await client.jsm().consumer_info(STREAM, TELEMETRY)
    assert info.delivered is not None
    return info.delivered.consumer_seq


def as_lines(found: list[Fetched]) -> list[str]:
    """Return the table in Markdown."""
    lines = [
        "| reader | messages | msg/s | of the first | CPU us/msg | NATS us/msg | delivered again | rows wrong |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {one.reader} | {one.messages:,} | {one.per_second:,.0f} | {one.per_second / found[0].per_second:.2f}"
        f" | {one.cpu_us:.1f} | {one.server_cpu_us:.1f} | {one.again:,} | {one.rows_wrong} |"
        for one in found
    ]
