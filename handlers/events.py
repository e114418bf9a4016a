"""The vocabulary: what comes in (`Publish`) and what it means (`Observation`).

Times are integers: microseconds since 1970-01-01 UTC, the resolution of Postgres' timestamptz. These are named
tuples and not frozen dataclasses because one of each is built per message: measured, 0.3 us against 1.3 us.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

Micros = int
"""Microseconds since the Unix epoch, UTC."""

SECOND: Micros = 1_000_000
DAY: Micros = 86_400 * SECOND
MIN_AT: Micros = 1_420_070_400 * SECOND
"""2015-01-01: an earlier device time is a clock that was never set."""
MAX_AT: Micros = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999, the last instant that every reader of the row can represent."""

MAX_EXTERNAL_ID = 255
MAX_SERIAL_NUMBER = 100
MAX_VERSION = 50
MAX_COMPONENT = 50
MAX_READING_NAME = 64
MAX_READING_UNIT = 16
MAX_READINGS = 32
MAX_COMPONENTS = 32
"""Per message: what exceeds it is a field error, not a failure."""

MAIN = "main"
"""The component that drives devices.firmware_version."""


class Presence(StrEnum):
    """What an observation says about presence."""

    ONLINE = "online"
    OFFLINE = "offline"


Source = Literal["mqtt", "webhook", "reconcile", "api"]


class Publish(NamedTuple):
    """One MQTT PUBLISH as an adapter hands it on.

    `packet_id` is 0 at QoS 0. `size` is the payload's full length in bytes; where it is larger than `len(payload)` the
    message exceeded max_payload and only its head was kept. `topic` is valid UTF-8 without NUL, at most 65,535 bytes.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    received_at: Micros
    size: int
    content_type: str | None = None


class DeviceKey(NamedTuple):
    """How an event names a device: at least one of the three."""

    external_id: str | None
    serial_number: str | None = None
    hardware_ids: tuple[str, ...] = ()


class Reading(NamedTuple):
    """A number by name: temperature, humidity... `unit` may be empty."""

    name: str
    value: float
    unit: str = ""


class Sequence(NamedTuple):
    """Where a cloud's event stands among its device's others: handlers/sequences.py compares.

    Times further apart than `window` decide, else `order` does: text, by code point.
    """

    window: Micros
    order: str


GoliothStatus = Literal["enabled", "disabled", "suspended"]
Lifecycle = Literal["created", "deleted"]


class Facts(NamedTuple):
    """What only providers and webhooks tell about a device; None where nothing was said.

    `metadata` holds small JSON values, bounded in number and size (handlers/facts.py).
    """

    name: str | None = None
    serial_number: str | None = None
    hardware_ids: tuple[str, ...] | None = None
    cohort_id: str | None = None
    golioth_status: GoliothStatus | None = None
    metadata: Mapping[str, object] | None = None
    tags: tuple[str, ...] | None = None
    lifecycle: Lifecycle | None = None


class Observation(NamedTuple):
    """What one event says about one device; nothing else ever changes a row, apart from the sweep.

    `at` is the event time of what was measured, `seen_at` the presence time, `received_at` when this process had it in
    hand (strictly increasing). `snapshot` marks a retained message that came because we subscribed. battery_level is
    0..100 %, signal_strength -150..0 dBm, `firmware` pairs of (component, version).
    """

    integration_id: UUID
    device: DeviceKey
    at: Micros
    seen_at: Micros
    received_at: Micros
    source: Source = "mqtt"
    sequence: Sequence | None = None
    presence: Presence | None = None
    snapshot: bool = False
    battery_level: int | None = None
    signal_strength: int | None = None
    firmware: tuple[tuple[str, str], ...] = ()
    readings: tuple[Reading, ...] = ()
    facts: Facts | None = None


class FieldError(NamedTuple):
    """One field of a message that could not be used; the rest of the message counts.

    `error` is for people; `value` is what stood there, as a short text, where there was something.
    """

    field: str
    error: str
    value: str = ""


class DeadReason(NamedTuple):
    """Why a whole message means nothing: `kind` is a short stable word for metrics, `error` is for people."""

    kind: str
    error: str


class Decoded(NamedTuple):
    """What a handler made of one message. With `dead` set there are no observations."""

    observations: tuple[Observation, ...] = ()
    field_errors: tuple[FieldError, ...] = ()
    skewed: bool = False
    dead: DeadReason | None = None


@dataclass(frozen=True, slots=True)
class Liveness:
    """How presence time is chosen. See design: `receipt` trusts our clock, `event_time` the device's."""

    event_time: bool = False
    max_ahead: Micros = 300 * SECOND
    """A device time later than received_at by more than this is not usable."""
    max_behind: Micros = 31 * DAY
    """Nor is one that is earlier by more than this: a clock that fell back to 2020 would freeze every value."""


def later(left: Micros | None, right: Micros | None) -> Micros | None:
    """Return the later of two times, where None is none."""
    if left is None or right is None:
        return right if left is None else left
    return max(left, right)
