"""The newest error of each device's fields, on its way to the database.

Whoever decodes only notes an error here; the rows are written beside the commits (field_error_writer.py).
Devices choose names of fields, and anybody may invent devices, so everything is bounded: what exceeds a bound is
forgotten.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from handlers.events import DeviceKey, FieldError, Micros
from handlers.fields import field_name

EVERY_S = 60.0
"""A field of a device is written at most once in this time."""
MAX_FIELDS = 32
"""Of one device, noted at once or written within EVERY_S."""
MAX_DEVICES = 2_000
"""Of one integration with errors that are not written yet; the oldest make room."""
MAX_UNKNOWN = 500
"""The same of devices without a known row."""
MAX_WRITTEN = 10_000
"""Fields of one integration's devices that are written within EVERY_S."""
MAX_DUE = 500
"""Fields that are written at once, and devices that are looked at for them."""
UNKNOWN_S = 10.0
"""How long an error waits for the row of its device."""

Known = Mapping[DeviceKey, UUID]
"""The rows of an integration's devices, as far as they are known."""


class Noted(NamedTuple):
    """An error, when its message was received, and when it was noted (time.monotonic, seconds)."""

    error: FieldError
    at: Micros
    since: float


class Due(NamedTuple):
    """An error that may be written now."""

    integration_id: UUID
    device: DeviceKey
    device_id: UUID
    field: str
    noted: Noted


Waiting = dict[DeviceKey, dict[str, Noted]]


@dataclass(slots=True)
class _Integration:
    waiting: Waiting = field(default_factory=dict)
    unknown: Waiting = field(default_factory=dict)
    written: dict[tuple[UUID, str], float] = field(default_factory=dict)
    """When, the oldest first (time.monotonic, seconds)."""
    per_device: Counter[UUID] = field(default_factory=Counter)
    """How many fields of each device are in `written`."""

    def note(
        self, device: DeviceKey, errors: Iterable[FieldError], at: Micros, now: float, *, is_known: bool
    ) -> None:
        waiting, most = (self.waiting, MAX_DEVICES) if is_known else (self.unknown, MAX_UNKNOWN)
        fields = waiting.get(device)
        if fields is None:
            if len(waiting) >= most:
                del waiting[next(iter(waiting))]
            fields = waiting[device] = {}
        for error in errors:
            name = field_name(error)
            if name in fields or len(fields) < MAX_FIELDS:
                fields[name] = Noted(error, at, now)

    def expire(self, known: Known, now: float) -> None:
        """Forget what was written EVERY_S ago; take up devices that have a row by now, and forget who got none."""
        old = list(takewhile(lambda one: now - self.written[one] >= EVERY_S, self.written))
        for one in old:
            del self.written[one]
            self.per_device[one[0]] -= 1
            if not self.per_device[one[0]]:
                del self.per_device[one[0]]
        for device, fields in list(self.unknown.items()):
            if device in known and len(self.waiting) < MAX_DEVICES:
                self.waiting.setdefault(device, self.unknown.pop(device))
            elif all(now - noted.since > UNKNOWN_S for noted in fields.values()):
                del self.unknown[device]

    def due(self, integration_id: UUID, known: Known, limit: int) -> list[Due]:
        """Look at the devices whose turn it is, and put them behind the others."""
        found: dict[tuple[UUID, str], Due] = {}
        limit = min(limit, MAX_WRITTEN - len(self.written))
        for device in list(islice(self.waiting, max(0, limit))):
            fields = self.waiting.pop(device)
            device_id = known.get(device)
            if device_id is None:
                continue
            self.waiting[device] = fields
            room = MAX_FIELDS - self.per_device[device_id] if device_id in self.per_device else MAX_FIELDS
            for name, noted in fields.items():
                if room > 0 and len(found) < limit and (device_id, name) not in self.written:
                    found[device_id, name] = Due(integration_id, device, device_id, name, noted)
                    room -= 1
        return list(found.values())

    def settle(self, one: Due, now: float) -> None:
        written = one.device_id, one.field
        if self.written.pop(written, None) is None:
            self.per_device[one.device_id] += 1
        self.written[written] = now
        fields = self.waiting.get(one.device, {})
        if fields.get(one.field) is one.noted:
            del fields[one.field]
            if not fields:
                del self.waiting[one.device]


class FieldErrors:
    """The errors of a process that are not written yet, the newest of each field, by integration and device.

    `known` returns the rows of an integration's devices.
    """

    def __init__(self, known: Callable[[UUID], Known], clock: Callable[[], float] = monotonic) -> None:
        self._known = known
        self._clock = clock
        self._integrations: dict[UUID, _Integration] = {}

    def note(self, integration_id: UUID, device: DeviceKey, errors: Iterable[FieldError], at: Micros) -> None:
        """Note what was wrong with a device's message that was received at `at`."""
        mine = self._integrations.get(integration_id)
        if mine is None:
            mine = self._integrations[integration_id] = _Integration()
        is_known = device in self._known(integration_id)
        mine.note(device, errors, at, self._clock(), is_known=is_known)

    def due(self) -> list[Due]:
        """Return at most MAX_DUE errors that may be written now, of each integration its share."""
        found: list[Due] = []
        now, share = self._clock(), max(1, MAX_DUE // max(1, len(self._integrations)))
        for integration_id, mine in list(self._integrations.items()):
            known = self._known(integration_id)
            mine.expire(known, now)
            found += mine.due(integration_id, known, share)
            if not (mine.waiting or mine.unknown or mine.written):
                del self._integrations[integration_id]
        return found[:MAX_DUE]

    def settle(self, due: Iterable[Due]) -> None:
        """Note that these were written: their fields are due again after EVERY_S."""
        now = self._clock()
        for one in due:
            if (mine := self._integrations.get(one.integration_id)) is not None:
                mine.settle(one, now)
