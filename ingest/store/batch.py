"""What one commit carries, and its form as the parallel arrays that `rollcall.apply` takes."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from handlers.events import Micros
from handlers.evidence import Evidence

DIGESTS_KEPT = 65_536
"""Publishes of a session whose digests are kept: MQTT has no more packet ids than that."""


class Target(NamedTuple):
    """A device of a batch: its row and its integration's offline_after."""

    device_id: UUID
    offline_after: Micros
    source: str = "mqtt"


class DeadLetter(NamedTuple):
    """A message that could not be decoded or was refused. `payload` is whole unless `truncated`."""

    id: UUID
    integration_id: UUID
    session: str
    topic: str
    qos: int
    retain: bool
    content_type: str | None
    received_at: Micros
    kind: str
    error: str
    payload: bytes
    truncated: bool


class SessionProgress(NamedTuple):
    """What a commit says about one MQTT session: digests of what it answers, and the newest marker."""

    session_id: int
    seq: int
    digests: bytes
    heard_until: Micros | None


class Parked(NamedTuple):
    """What an id without a row has said so far, as JSON."""

    integration_id: UUID
    external_id: str
    evidence: str
    messages: int


@dataclass(slots=True)
class Batch:
    """Everything that is committed together."""

    devices: dict[Target, Evidence] = field(default_factory=dict)
    sessions: list[SessionProgress] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    received: list[tuple[int, int, int]] = field(default_factory=list)
    """QoS 2: (session id, packet id, digest)"""
    released: list[tuple[int, int]] = field(default_factory=list)
    """QoS 2: (session id, packet id)"""
    parked: list[Parked] = field(default_factory=list)
    unparked: list[tuple[UUID, str]] = field(default_factory=list)
    replayed: list[UUID] = field(default_factory=list)
    """Dead letters that are applied by this batch, and so are none any more."""

    @property
    def has_extras(self) -> bool:
        """Whether more than the one call of `rollcall.apply` is needed."""
        return any(
            (self.dead_letters, self.received, self.released, self.parked, self.unparked, self.replayed)
        )


def apply_arguments(batch: Batch, presence_resolution: Micros) -> list[Any]:
    """Return the arguments of `rollcall.apply`, in its order."""
    devices = [_device_row(target, evidence) for target, evidence in batch.devices.items()]
    columns: list[Any] = _columns(devices, 13)
    columns += _columns(
        [row for t, e in batch.devices.items() if e.firmware for row in _firmware_rows(t, e)], 4
    )
    columns += _columns(
        [row for t, e in batch.devices.items() if e.readings for row in _reading_rows(t, e)], 5
    )
    columns += _columns([row for t, e in batch.devices.items() if e.marks for row in _mark_rows(t, e)], 4)
    columns += _columns(batch.sessions, 4)
    return [*columns, DIGESTS_KEPT, presence_resolution]


def _columns(rows: list[Any], width: int) -> list[Any]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _device_row(target: Target, evidence: Evidence) -> tuple[Any, ...]:
    online = evidence.online
    first, last = online[-1] if online else (None, None)
    runs = "{" + ",".join(f"[{a},{b}]" for a, b in online) + "}" if len(online) > 1 else None
    battery_at, battery = evidence.battery or (None, None)
    signal_at, signal = evidence.signal or (None, None)
    return (
        target.device_id,
        target.offline_after,
        first,
        last,
        runs,
        evidence.offline_at,
        evidence.snapshot_online_at,
        evidence.snapshot_offline_at,
        battery,
        battery_at,
        signal,
        signal_at,
        target.source,
    )


def _firmware_rows(target: Target, evidence: Evidence) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for component, seen in evidence.firmware.items():
        rows += [(target.device_id, component, version, at) for (version, _), at in seen.points.items()]
        rows.append((target.device_id, component, seen.version, seen.at))
    return rows


def _reading_rows(target: Target, evidence: Evidence) -> list[tuple[Any, ...]]:
    return [
        (target.device_id, name, value, unit, at) for name, (at, value, unit) in evidence.readings.items()
    ]


def _mark_rows(target: Target, evidence: Evidence) -> list[tuple[Any, ...]]:
    marks = set(evidence.marks)
    if evidence.online:
        marks.add((evidence.online[0][0], True))
    return [(target.device_id, at, online, target.source) for at, online in sorted(marks)]
