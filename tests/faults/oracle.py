"""Compares the tables with the model: rows, history, timeline, dead letters and what the provider says."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from tests.faults import numbered
from tests.faults.cloud import Cloud
from tests.faults.model import Model, delivered, published
from tests.faults.numbered import Applied, Decode, Transition
from tests.faults.rows import Row, micros, rows_in
from tests.faults.webhooks import Webhooks
from tests.faults.workload import OFFLINE, Devices, Message

Connect = Callable[[], Awaitable[asyncpg.Connection]]
DEVICES = """
select d.id, i.external_device_id as name, d.status, d.last_seen_online, d.last_seen_offline, d.battery_level,
    d.signal_strength, d.firmware_version
from devices d join rollcall.device_identity i on i.device_id = d.id"""
COHORTS = """
select i.external_device_id as name, d.cohort_id
from devices d join rollcall.device_identity i on i.device_id = d.id where d.cohort_id is not null"""
TOLD = """
select subject, component, at, detail ->> 'version' as version from rollcall.device_events
where kind = 'firmware' and retracted_at is null"""
TWICE = """
select subject, kind, component, at from rollcall.device_events where retracted_at is null and kind <> 'gap'
group by 1, 2, 3, 4 having count(*) > 1
union all
select subject, kind, component, min(at) from rollcall.device_events where kind = 'created'
group by 1, 2, 3 having count(*) > 1"""
CAME_AND_WENT = """
select subject, kind, at, source from rollcall.device_events where kind in ('online', 'offline') order by at"""
SLOTS = """
select client_id, state from rollcall.mqtt_sessions
where client_id like 'rollcall-%' and state <> 'connected'"""
ONLINE = [("online", 0)]
"""Whenever that was."""


class Oracle:
    """`differences` is empty once everything is as it must be."""

    def __init__(
        self, connect: Connect, model: Model, devices: Devices, webhooks: Webhooks, cloud: Cloud
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
        devices = await database.fetch(DEVICES)
        names = {row["id"]: row["name"] for row in devices}
        rows = await rows_in(database, devices)
        wrong = _unequal("row", rows, self._model.rows())
        told = _installs_told(await database.fetch(TOLD), names)
        wrong += _unequal("timeline", told, _installs(rows))
        moves = await database.fetch(CAME_AND_WENT)
        came_and_went = _came_and_went(moves, names)
        wrong += self._by_number(rows, came_and_went)
        silent = [names.get(row["subject"]) for row in moves if row["source"] == "sweep"]
        wrong += [f"{name} was taken for silent" for name in silent]
        wrong += [
            line
            for name in rows
            if name[0] == "d"
            for line in _wrong_moves(name, came_and_went[name], ONLINE)
        ]
        wrong += await self._dead_letters(database)
        cohorts = {row["name"]: row["cohort_id"] for row in await database.fetch(COHORTS)}
        wrong += _unequal("cohort", cohorts, self._cloud.cohorts)
        wrong += [f"told twice: {dict(row)}" for row in await database.fetch(TWICE)]
        wrong += [f"session {row['client_id']}: {row['state']}" for row in await database.fetch(SLOTS)]
        return wrong

    def _by_number(self, rows: Mapping[str, Row], moves: Mapping[str, list[Transition]]) -> list[str]:
        """Compare what has no time of its own: each number's times, and what the rules make of them."""
        certainty, posted = self._devices.certainty, self._webhooks.numbered
        found = {name: numbered.applied(row) for name, row in rows.items() if name[0] in "phu"}
        theirs = _together(found, "h")
        mine = _together(found, "pu")
        said = {number for number, message in certainty.said.items() if message.is_numbered}
        wrong = numbered.wrong_times(mine, said, certainty.maybe_missing, certainty.maybe_doubled)
        wrong += numbered.wrong_times(theirs, posted, set(), set())
        if wrong:
            return wrong
        connections = self._connections()
        for name, applied in found.items():
            known = numbered.observed(
                applied, _posted(posted) if name[0] == "h" else _published(certainty.said)
            )
            if name[0] == "p":
                went = [at for kind, at in moves[name] if kind == "offline"]
                wrong += numbered.wrong_goings(name, len(went), connections[name], applied, certainty)
                went += numbered.said_again(rows[name], connections[name], certainty)
                known += [one for at in went for one in published(f"devices/{name}/connection", OFFLINE, at)]
            wrong += numbered.wrong_row(name, rows[name], known)
            wrong += _wrong_moves(name, moves[name], numbered.transitions(known))
        return wrong

    def _connections(self) -> dict[str, list[Message]]:
        """Return what each device that comes and goes said, in order."""
        found: dict[str, list[Message]] = defaultdict(list)
        for _, message in sorted(self._devices.certainty.said.items()):
            if message.topic.startswith("devices/p"):
                found[message.topic.split("/")[1]].append(message)
        return found

    async def _dead_letters(self, database: asyncpg.Connection) -> list[str]:
        found = Counter(
            row["payload"] for row in await database.fetch("select payload from rollcall.dead_letters")
        )
        certainty, wrong = self._devices.certainty, []
        letters = {m.payload: n for n, m in certainty.said.items() if not m.payload.startswith(b"{")}
        for payload, number in letters.items():
            least = number not in certainty.maybe_missing
            most = 1 + (number in certainty.maybe_doubled)
            if not least <= found[payload] <= most:
                wrong.append(f"dead letter {payload!r}: {found[payload]} times")
        return wrong + [f"dead letter of what is none: {one!r}" for one in found.keys() - letters.keys()]


def _published(said: Mapping[int, Message]) -> Decode:
    return lambda number, at: published(said[number].topic, said[number].payload, at)


def _posted(events: Mapping[int, bytes]) -> Decode:
    return lambda number, at: delivered(events[number], at)


def _wrong_moves(name: str, found: list[Transition], wanted: list[Transition]) -> list[str]:
    """Compare the timeline's comings and goings; where several replicas hear a device, its first may come late."""
    same = found == wanted if name[0] == "p" else [kind for kind, _ in found] == [kind for kind, _ in wanted]
    return [] if same else [f"transitions {name}: found {found}, wanted {wanted}"]


def _together(found: Mapping[str, Mapping[int, Applied]], kinds: str) -> dict[int, Applied]:
    return {n: times for name, numbers in found.items() if name[0] in kinds for n, times in numbers.items()}


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
        found[names[row["subject"]]].add((row["component"], micros(row["at"]), row["version"]))
    return found


def _came_and_went(moves: list[asyncpg.Record], names: Mapping[UUID, str]) -> dict[str, list[Transition]]:
    found: dict[str, list[Transition]] = defaultdict(list)
    for row in moves:
        found[names[row["subject"]]].append((row["kind"], micros(row["at"])))
    return found
