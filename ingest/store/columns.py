"""A batch as the parallel arrays that `rollcall.apply` takes."""

from typing import Any
from uuid import UUID

from handlers.events import Micros, Presence
from handlers.evidence import Evidence
from handlers.runs import Run
from ingest.store.batch import Batch

DIGESTS_KEPT = 65_536
"""Publishes of a session whose digests are kept: MQTT has no more packet ids than that."""

LOCK_PATIENCE = "2s"
"""How long a commit waits for a row that somebody else holds."""

_UNSAID = (None, None)


def apply_arguments(batch: Batch, presence_resolution: Micros, alone_from: int | None = None) -> list[Any]:
    """Return the arguments of the query `apply`: those of `rollcall.apply`, then the sessions and their epochs.

    Then from how many devices on it asks to be alone (None: never; nor where it says more than telemetry: that may take
    long), what each session is behind, and how long it waits for a lock.
    A column in which nothing is said is an empty array; so is `online_first` where it equals `online_last`, and
    `signal_ats` where it equals `battery_ats`. One element of `after_settings` and `sources` counts for all.
    """
    ids, evidence, targets = list(batch.devices), list(batch.devices.values()), list(batch.targets.values())
    said = batch.devices.items()
    presence = _presence(evidence)
    streams = [row for one, e in said if e.streams for row in _stream_rows(one, e)]
    firmware = [row for one, e in said if e.firmware for row in _firmware_rows(one, e)]
    marks = [row for one, e in said if e.marks for row in _mark_rows(one, e, batch.targets[one].source)]
    columns: list[Any] = [
        ids,
        _once([target.offline_after for target in targets]),
        *presence,
        *_values(evidence),
        _once([target.source for target in targets]),
        *_columns(streams, 7),
        *_columns(firmware, 4),
        *_columns([row for one, e in said if e.readings for row in _reading_rows(one, e)], 5),
        *_columns(marks, 5),
        *_columns([one[:4] for one in batch.sessions], 4),
    ]
    is_telemetry = not any((*presence[3:], streams, firmware, marks))
    alone = str(alone_from) if alone_from is not None and is_telemetry else ""
    sessions = _columns(sorted(batch.epochs), 2)
    return [*columns, DIGESTS_KEPT, presence_resolution, *sessions, alone, (), LOCK_PATIENCE]


def _columns(rows: list[Any], width: int) -> list[Any]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _sparse(column: list[Any]) -> list[Any]:
    """Return the column, or an empty one (NULLs to Postgres' unnest) where it says nothing: most say nothing."""
    return [] if column.count(None) == len(column) else column


def _once(column: list[Any]) -> list[Any]:
    """Return one element for all where all are equal."""
    return column[:1] if column and column.count(column[0]) == len(column) else column


def _unless(column: list[Any], other: list[Any]) -> list[Any]:
    """Return the column, or an empty one where it says what the other says."""
    return [] if column == other else column


def _presence(evidence: list[Evidence]) -> list[Any]:
    newest = [e.online[-1] if e.online else _UNSAID for e in evidence]
    first, last = [one for one, _ in newest], [one for _, one in newest]
    runs = [_runs(e.online) if len(e.online) > 1 else None for e in evidence]
    return [
        _unless(first, last),
        _sparse(last),
        _sparse(runs),
        _sparse([e.offline_at for e in evidence]),
        _sparse([e.snapshot_online_at for e in evidence]),
        _sparse([e.snapshot_offline_at for e in evidence]),
    ]


def _values(evidence: list[Evidence]) -> list[Any]:
    battery = [e.battery or _UNSAID for e in evidence]
    signal = [e.signal or _UNSAID for e in evidence]
    battery_at, signal_at = [at for at, _ in battery], [at for at, _ in signal]
    return [
        _sparse([value for _, value in battery]),
        _sparse(battery_at),
        _sparse([value for _, value in signal]),
        _unless(_sparse(signal_at), battery_at),
    ]


def _runs(runs: list[Run]) -> str:
    return "{" + ",".join(f"[{first},{last}]" for first, last in runs) + "}"


def _stream_rows(device_id: UUID, evidence: Evidence) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for window, stream in evidence.streams.items():
        head = stream.head
        assert head is not None, "a stream without events"
        online = head.presence is Presence.ONLINE
        times = stream.connected_at, stream.disconnected_at
        rows.append((device_id, window, *times, online, head.at, head.sequence.order))
    return rows


def _firmware_rows(device_id: UUID, evidence: Evidence) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for component, seen in evidence.firmware.items():
        rows += [(device_id, component, version, at) for (version, _), at in seen.points.items()]
        rows.append((device_id, component, seen.version, seen.at))
    return rows


def _reading_rows(device_id: UUID, evidence: Evidence) -> list[tuple[Any, ...]]:
    return [(device_id, name, value, unit, at) for name, (at, value, unit) in evidence.readings.items()]


def _mark_rows(device_id: UUID, evidence: Evidence, source: str) -> list[tuple[Any, ...]]:
    marks = set(evidence.marks)
    if evidence.online:
        marks.add((evidence.online[0][0], True))
    return [(device_id, at, online, source, evidence.dropped_marks) for at, online in sorted(marks)]
