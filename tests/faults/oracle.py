"""Compares the tables with the model: rows, history, timeline, dead letters and what the provider says."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from tests.faults.cloud import Cloud
from tests.faults.model import Model, Row
from tests.faults.webhooks import Webhooks
from tests.faults.workload import Devices

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEVICES = """
select d.id, i.external_device_id as name, d.cohort_id, d.status, d.last_seen_online, d.last_seen_offline,
    d.battery_level, d.signal_strength, d.firmware_version
from devices d join rollcall.device_identity i on i.device_id = d.id"""
INSTALLS = """
select device_id, component_type, installed_at, firmware_version, source from device_firmware_history
order by component_type, installed_at, firmware_version collate "C" """
READINGS = 'select device_id, name, value, at from rollcall.device_readings order by name collate "C"'
TOLD = """
select subject, component, at, detail ->> 'version' as version, retracted_at is null as counts
from rollcall.device_events where kind = 'firmware'"""
TWICE = """
select subject, kind, component, at from rollcall.device_events where retracted_at is null and kind <> 'gap'
group by 1, 2, 3, 4 having count(*) > 1
union all
select subject, kind, component, min(at) from rollcall.device_events where kind = 'created'
group by 1, 2, 3 having count(*) > 1"""
CAME_AND_WENT = """
select i.external_device_id as name, count(e.*) from rollcall.device_identity i
left join rollcall.device_events e on e.subject = i.device_id and e.kind in ('online', 'offline')
where i.external_device_id like 'p%' group by 1"""
SLOTS = """
select client_id, state from rollcall.mqtt_sessions
where client_id like 'rollcall-%' and state <> 'connected'"""


class Oracle:
    """`differences` is empty once everything is as it must be."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        model: Model,
        devices: Devices,
        webhooks: Webhooks,
        cloud: Cloud,
    ) -> None:
        self._connect = connect
        self._model = model
        self._devices = devices
        self._webhooks = webhooks
        self._cloud = cloud

    async def differences(self) -> list[str]:
        """Return what is not as it must be, a line each."""
        database = await self._connect()
        try:
            async with database.transaction(isolation="repeatable_read", readonly=True):
                return await self._compared(database)
        finally:
            await database.close()

    async def _compared(self, database: asyncpg.Connection) -> list[str]:
        found = await database.fetch(DEVICES)
        names = {row["id"]: row["name"] for row in found}
        rows = await _rows(database, found)
        told = await database.fetch(TOLD)
        wrong = _unequal("row", rows, self._model.rows())
        wrong += _unequal("timeline", _installs_told(told, names), _installs(rows))
        wrong += self._undated(told)
        wrong += await self._dead_letters(database)
        states = {row["name"]: row["status"] for row in found}
        wrong += _unequal("status", states, self._last_said())
        came_and_went = {row["name"]: row["count"] for row in await database.fetch(CAME_AND_WENT)}
        wrong += _unequal("transitions", came_and_went, self._transitions())
        cohorts = {row["name"]: row["cohort_id"] for row in found}
        wrong += _unequal("cohort", cohorts, self._cloud.cohorts)
        wrong += [f"told twice: {dict(row)}" for row in await database.fetch(TWICE)]
        wrong += [f"session {row['client_id']}: {row['state']}" for row in await database.fetch(SLOTS)]
        return wrong

    def _undated(self, told: list[asyncpg.Record]) -> list[str]:
        """A version is told once for each time that it was seen anew: what counts no more is counted here, too."""
        seen = Counter(row["version"] for row in told)
        certainty = self._devices.certainty
        bounds = {
            orjson.loads(payload)["fw"]: (
                payload not in certainty.maybe_missing,
                payload in certainty.maybe_doubled,
            )
            for payload in certainty.undated
            if payload.startswith(b'{"fw"')
        }
        bounds |= dict.fromkeys(self._webhooks.versions, (True, False))
        return _out_of_bounds("version", seen, bounds)

    def _last_said(self) -> dict[str, str]:
        """Return the status of each device that came and went: nothing befalls what it says last."""
        return {f"p{n}": "online" if on else "offline" for n, on in enumerate(self._devices.is_online)}

    def _transitions(self) -> dict[str, int]:
        """Return how often each came or went, of those that none of their messages is in doubt of."""
        certainty = self._devices.certainty
        counts: Counter[str] = Counter()
        for (topic, payload, _), _ in self._devices.acknowledged:
            if topic.startswith("devices/p"):
                counts[topic.split("/")[1]] += 1
                if payload in certainty.maybe_missing or payload in certainty.maybe_doubled:
                    counts[topic.split("/")[1]] -= 1_000_000
        return {name: count for name, count in counts.items() if count > 0}

    async def _dead_letters(self, database: asyncpg.Connection) -> list[str]:
        rows = await database.fetch("select payload from rollcall.dead_letters")
        certainty = self._devices.certainty
        bounds = {
            payload: (payload not in certainty.maybe_missing, payload in certainty.maybe_doubled)
            for payload in certainty.undated
            if not payload.startswith(b"{")
        }
        seen = Counter(row["payload"] for row in rows)
        strange = [f"dead letter of what is none: {payload!r}" for payload in seen if payload not in bounds]
        return strange + _out_of_bounds("dead letter", seen, bounds)


async def _rows(database: asyncpg.Connection, found: list[asyncpg.Record]) -> dict[str, Row]:
    installs = _by_device(await database.fetch(INSTALLS))
    readings = _by_device(await database.fetch(READINGS))
    return {
        row["name"]: Row(*map(_plain, list(row.values())[3:]), installs[row["id"]], readings[row["id"]])
        for row in found
    }


def _out_of_bounds(what: str, seen: Mapping[Any, int], bounds: Mapping[Any, tuple[bool, bool]]) -> list[str]:
    """`bounds`: whether it must be there, and whether it may be there more than once."""
    return [
        f"{what} {one}: {seen.get(one, 0)} times"
        for one, (must_be, may_double) in bounds.items()
        if seen.get(one, 0) < must_be or (seen.get(one, 0) > 1 and not may_double)
    ]


def _unequal(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{what} {name}: found {found.get(name)}, wanted {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


def _installs(rows: Mapping[str, Row]) -> dict[str, set[tuple[str, int, str]]]:
    return {name: {install[:3] for install in row.installs} for name, row in rows.items()}


def _installs_told(
    told: list[asyncpg.Record], names: Mapping[UUID, str]
) -> dict[str, set[tuple[str, int, str]]]:
    found: dict[str, set[tuple[str, int, str]]] = {name: set() for name in names.values()}
    for row in told:
        if row["counts"]:
            found[names[row["subject"]]].add((row["component"], _plain(row["at"]), row["version"]))
    return found


def _by_device(rows: list[asyncpg.Record]) -> dict[UUID, tuple[Any, ...]]:
    found: dict[UUID, tuple[Any, ...]] = defaultdict(tuple)
    for device, *values in rows:
        found[device] += (tuple(map(_plain, values)),)
    return found


def _plain(value: Any) -> Any:
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value
