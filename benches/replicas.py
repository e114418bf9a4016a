"""Drain a backlog through replicas that share the slots of one integration."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import psutil
import psycopg

from benches.contenders.place import Place
from benches.drain import postgres_cpu, rows_wrong
from benches.load import Client, backlog, expected
from benches.process import cpu, start, stop
from benches.world import World

SETUPS = ((1, 1), (1, 4), (2, 2), (2, 4), (4, 4))
"""Replicas and slots."""
LEASE_TTL_S = 20
"""Longer than filling the backlog takes: meanwhile nobody renews."""
WITHIN_S = 300.0
SPREAD = """
select coalesce(array_agg(n order by n), '{}') from (select count(*)::int as n from rollcall.leases l
    join rollcall.mqtt_sessions s on l.name = 'mqtt/' || s.client_id and s.state = 'connected'
    where l.expires_at > now() and s.connected_at > now() - interval '5 minutes' group by l.holder) as t"""
DONE = "select count(*) from rollcall.device_state where battery_at >= %s"


@dataclass(frozen=True, slots=True)
class Shared:
    """What so many replicas with so many slots did with a backlog."""

    replicas: int
    slots: int
    devices: int
    messages: int
    per_second: float
    cpu_us: float
    postgres_cpu_us: float
    rows_wrong: int


def replicas(world: World, template: str, messages: int, devices: int) -> list[Shared]:
    """Measure each of SETUPS."""
    return [_drain(world, template, *setup, messages, devices) for setup in SETUPS]


def _drain(world: World, template: str, count: int, slots: int, messages: int, devices: int) -> Shared:
    """Let the replicas take their slots, stop them, fill the slots' queues, let them go on, wait for the end."""
    place = world.place(template, "rollcall")
    with psycopg.connect(place.database, autocommit=True) as connection:
        setting = orjson.dumps({"slots": slots}).decode()
        connection.execute("update device_integrations set settings = settings || %s::jsonb", [setting])
        processes = _started(place, count)
        try:
            _await(connection, SPREAD, ([slots // count] * count,))
            seconds, spent, postgres_spent = _timed(world, place, connection, processes, messages, devices)
        finally:
            for process in processes:
                process.resume()
                stop(process)
    wrong = rows_wrong(place.database, expected(messages, devices))
    for slot in range(1, slots):
        Client(place.port, f"{place.client_id[:-1]}{slot}").close()
    world.forget(place)
    each = 1e6 / messages
    return Shared(
        count, slots, devices, messages, messages / seconds, spent * each, postgres_spent * each, wrong
    )


def _timed(
    world: World,
    place: Place,
    connection: psycopg.Connection,
    processes: list[psutil.Popen],
    messages: int,
    devices: int,
) -> tuple[float, float, float]:
    for process in processes:
        process.suspend()
    publisher = Client(place.port, "bench-publisher")
    load = backlog(messages, devices)
    first = next(load)
    publisher.publish(_again(first, load))
    publisher.close()
    last_round = orjson.loads(first[1])["ts"] + (messages - devices) * 1_000
    before, postgres_before, began = sum(map(cpu, processes)), postgres_cpu(world), time.monotonic()
    for process in processes:
        process.resume()
    _await(connection, DONE, (devices,), last_round)
    seconds = time.monotonic() - began
    return seconds, sum(map(cpu, processes)) - before, postgres_cpu(world) - postgres_before


def _started(place: Place, count: int) -> list[psutil.Popen]:
    settings = {"ROLLCALL_LEASE_TTL_S": str(LEASE_TTL_S)}
    return [start("rollcall", place, settings) for _ in range(count)]


def _again(first: tuple[str, bytes], rest: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    yield first
    yield from rest


def _await(connection: psycopg.Connection, sql: str, value: tuple[object, ...], *arguments: object) -> None:
    end = time.monotonic() + WITHIN_S
    while (found := connection.execute(sql, arguments).fetchone()) != value:
        if time.monotonic() > end:
            raise RuntimeError(f"{found} and not {value}: {sql}")
        time.sleep(0.02)


def as_lines(found: list[Shared]) -> list[str]:
    """Return the table in Markdown."""
    lines = [
        "| replicas | slots | devices | messages | msg/s | CPU us/msg, all replicas | Postgres us/msg | rows wrong |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {one.replicas} | {one.slots} | {one.devices:,} | {one.messages:,} | {one.per_second:,.0f}"
        f" | {one.cpu_us:.1f} | {one.postgres_cpu_us:.1f} | {one.rows_wrong} |"
        for one in found
    ]
