"""Numbered load, and what the pure rules say that the rows must be once all of it has been applied."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import aiomqtt
import asyncpg
import orjson

from handlers.dialects.plain import Context, decode
from handlers.events import MAIN, Publish
from handlers.evidence import Evidence
from handlers.firmware import history
from handlers.topics import Topics
from tests.waiting import until

DEVICES = 500
MESSAGES = 20_000
START_MS = (int(time.time()) // 86_400 - 20) * 86_400_000
"""Three weeks ago: devices' clocks of more than a month ago are not used."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """What a device's rows say: everything that is a function of what was published."""

    status: str
    battery_level: int | None
    installs: tuple[tuple[str, int], ...]
    readings: tuple[tuple[str, float, int], ...]


def numbered(messages: int = MESSAGES) -> Iterator[tuple[str, bytes]]:
    """Message n carries time n, battery n % 101 and, at times, a firmware version; some say things late."""
    for n in range(messages):
        body = {"battery": n % 101, "seq": n, "ts": START_MS + n * 10}
        if n % 1_000 < DEVICES and (n // 1_000) % 5 == 0:
            body["fw"] = f"v{n // 5_000}"
        if n % 7 == 3:
            body = {"soc": 1, f"late{n % 3}": n, "ts": START_MS - n * 10}
        yield f"devices/d{n % DEVICES}/telemetry", orjson.dumps(body)


async def publish(port: int, messages: int = MESSAGES) -> None:
    """Publish all of it at QoS 1, one at a time, as fast as the broker acknowledges."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="publisher") as client:
        for topic, payload in numbered(messages):
            await client.publish(topic, payload, qos=1)


def model(messages: int = MESSAGES) -> dict[str, Said]:
    """What the pure rules make of it."""
    context = Context(UUID(int=1), Topics.parse(None))
    evidence: dict[str, Evidence] = {}
    now = (START_MS + 10**9) * 1_000
    for topic, payload in numbered(messages):
        decoded = decode(Publish(topic, payload, 1, False, False, 1, now, len(payload)), context, None)
        for observation in decoded.observations:
            evidence.setdefault(observation.device.external_id or "", Evidence()).add(observation)
    return {name: _said(one) for name, one in evidence.items()}


def _said(evidence: Evidence) -> Said:
    assert evidence.battery is not None
    firmware = evidence.firmware.get(MAIN)
    return Said(
        "online",
        evidence.battery[1],
        tuple((one.version, one.at) for one in history(firmware)) if firmware else (),
        tuple((name, value, at) for name, (at, value, _) in sorted(evidence.readings.items())),
    )


async def rows(connection: asyncpg.Connection) -> dict[str, Said]:
    """What the tables say."""
    devices = await connection.fetch(
        "select id, external_device_id as name, status, battery_level from devices"
    )
    installs = await _by_device(
        connection,
        "select device_id, firmware_version, installed_at from device_firmware_history order by installed_at",
    )
    readings = await _by_device(
        connection,
        'select device_id, name, value, at from rollcall.device_readings order by name collate "C"',
    )
    return {
        one["name"]: Said(
            one["status"], one["battery_level"], installs.get(one["id"], ()), readings.get(one["id"], ())
        )
        for one in devices
    }


async def _by_device(connection: asyncpg.Connection, query: str) -> dict[UUID, tuple[Any, ...]]:
    found: dict[UUID, list[Any]] = {}
    for device, *values in await connection.fetch(query):
        found.setdefault(device, []).append(tuple(_micros(value) for value in values))
    return {device: tuple(values) for device, values in found.items()}


def _micros(value: Any) -> Any:
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


async def assert_rows_are_the_models(database: str, messages: int = MESSAGES, within_s: float = 60) -> None:
    """Wait until the rows are what the model says, and see that nothing was buried."""
    connection = await asyncpg.connect(database)
    wanted = model(messages)
    found: dict[str, Said] = {}

    async def equal() -> bool:
        nonlocal found
        found = await rows(connection)
        return found == wanted

    try:
        try:
            await until(equal, within_s, "the rows are what the model says")
        except AssertionError:
            wrong = [
                (found[name], said) for name, said in wanted.items() if name in found and found[name] != said
            ]
            assert not wrong, f"one of {len(wrong)}: found {wrong[0][0]}, wanted {wrong[0][1]}"
            assert found.keys() == wanted.keys()
        assert await connection.fetchval("select count(*) from rollcall.dead_letters") == 0
        told = "select count(*) from rollcall.device_events where kind = 'firmware' and retracted_at is null"
        assert await connection.fetchval(told) == sum(len(said.installs) for said in wanted.values())
    finally:
        await connection.close()
