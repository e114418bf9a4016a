"""A batch as the arguments of `rollcall.apply`: arrays of its composite types, a tuple a row, fields in their order."""

from typing import Any, NamedTuple
from uuid import UUID

from handlers.events import Micros, Presence
from handlers.evidence import Evidence
from handlers.runs import Run
from ingest.store.commit.batch import Batch, Target

DIGESTS_KEPT = 65_536
"""Publishes of a session whose digests are kept: MQTT has no more packet ids than that."""
LOCK_PATIENCE = "2s"
"""How long a commit waits for a row that somebody else holds."""

_UNSAID = (None, None)
Row = tuple[Any, ...]


class Arguments(NamedTuple):
    """Those of the query `apply`: of `rollcall.apply`, then the sessions, each with its epoch and the commit before."""

    devices: list[Row]
    streams: list[Row]
    firmware: list[Row]
    readings: list[Row]
    marks: list[Row]
    sessions: list[Row]
    digests_kept: int
    resolution: Micros
    session_ids: list[int]
    epochs: list[int]
    after: list[int | None]
    patience: str = LOCK_PATIENCE


def apply_arguments(batch: Batch, presence_resolution: Micros) -> Arguments:
    """Return the arguments that commit `batch` after no particular commit."""
    said = batch.devices.items()
    targets = batch.targets
    epochs = sorted(batch.epochs)
    return Arguments(
        [_device_row(one, e, targets[one]) for one, e in said],
        [row for one, e in said if e.streams for row in _stream_rows(one, e)],
        [row for one, e in said if e.firmware for row in _firmware_rows(one, e)],
        [row for one, e in said if e.readings for row in _reading_rows(one, e)],
        [row for one, e in said if e.marks for row in _mark_rows(one, e, targets[one].source)],
        [one[:4] for one in batch.sessions],
        DIGESTS_KEPT,
        presence_resolution,
        [session_id for session_id, _ in epochs],
        [epoch for _, epoch in epochs],
        [None] * len(epochs),
    )


def _device_row(device_id: UUID, evidence: Evidence, target: Target) -> Row:
    """Return a `rollcall.said`."""
    online = evidence.online
    first, last = online[-1] if online else _UNSAID
    battery_at, battery = evidence.battery or _UNSAID
    signal_at, signal = evidence.signal or _UNSAID
    return (
        device_id, target.offline_after, first, last, _runs(online) if len(online) > 1 else None, evidence.offline_at,
        evidence.snapshot_online_at, evidence.snapshot_offline_at, None, evidence.quiet_until,
        battery, battery_at, signal, signal_at, bool(evidence.marks), target.source,
    )  # fmt: skip


def _runs(runs: list[Run]) -> str:
    return "{" + ",".join(f"[{first},{last}]" for first, last in runs) + "}"


def _stream_rows(device_id: UUID, evidence: Evidence) -> list[Row]:
    """Return a `rollcall.said_of_stream` a window."""
    rows: list[Row] = []
    for window, stream in evidence.streams.items():
        head = stream.head
        assert head is not None, "a stream without events"
        online = head.presence is Presence.ONLINE
        times = stream.connected_at, stream.disconnected_at
        rows.append((device_id, window, *times, online, head.at, head.sequence.order))
    return rows


def _firmware_rows(device_id: UUID, evidence: Evidence) -> list[Row]:
    """Return a `rollcall.said_of_firmware` a sighting."""
    rows: list[Row] = []
    for component, seen in evidence.firmware.items():
        rows += [(device_id, component, version, at) for (version, _), at in seen.points.items()]
        rows.append((device_id, component, seen.version, seen.at))
    return rows


def _reading_rows(device_id: UUID, evidence: Evidence) -> list[Row]:
    """Return a `rollcall.reading` a name."""
    return [(device_id, name, value, unit, at) for name, (at, value, unit) in evidence.readings.items()]


def _mark_rows(device_id: UUID, evidence: Evidence, source: str) -> list[Row]:
    """Return a `rollcall.mark` a coming or going: each run of evidence begins with a coming."""
    marks = set(evidence.marks)
    marks.update((first, True) for first, _ in evidence.online)
    return [(device_id, at, online, source, evidence.dropped_marks) for at, online in sorted(marks)]
