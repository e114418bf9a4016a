"""Everything that a batch says about one device, coalesced: a set of observations reduced to what a row depends on.

`add` and `merge` are associative, commutative and idempotent (maxima, minima and unions; `marks` only feed the
timeline), so it does not matter how observations were ordered, doubled or cut into batches.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from handlers import runs
from handlers.events import DeviceKey, Micros, Observation, Presence, later
from handlers.facts import told
from handlers.firmware import FirmwareEvidence
from handlers.sequences import Stream, Transition

MAX_MARKS = 32
"""Presence transitions kept per device and batch; the rest are counted."""

_NOTHING: Any = ()
_NONE: Any = MappingProxyType({})
_ONLINE = Presence.ONLINE
_OFFLINE = Presence.OFFLINE


class Evidence:
    """The coalesced observations of one device. Times in microseconds since the epoch; None where nothing was said.

    The defaults are the class's, because one is made per device and batch and most of it is never said.
    Nothing that changes is shared: a list or dict is made when its first element comes.
    """

    online: list[runs.Run] = _NOTHING
    offline_at: Micros | None = None
    snapshot_online_at: Micros | None = None
    snapshot_offline_at: Micros | None = None
    quiet_until: Micros | None = None
    """Until when a complete listing shows that nothing later than the newest evidence was said."""
    battery: tuple[Micros, int] | None = None
    signal: tuple[Micros, int] | None = None
    firmware: dict[str, FirmwareEvidence] = _NONE
    readings: dict[str, tuple[Micros, float, str]] = _NONE
    marks: list[tuple[Micros, bool]] = _NOTHING
    dropped_marks = 0
    _marked_online = True
    streams: dict[Micros, Stream] = _NONE
    """Ordered connection events, by the window of their order."""
    facts: dict[str, tuple[Micros, str]] = _NONE
    """What was told besides: field -> time and JSON text."""

    @property
    def last_offline(self) -> Micros | None:
        """The newest offline evidence of all."""
        found = self.offline_at
        for stream in self.streams.values():
            found = later(found, stream.offline_at)
        return found

    def add(self, observation: Observation) -> None:
        """Take in one observation."""
        (
            _, _, at, seen_at, _, _, sequence, presence, snapshot, battery_level, signal_strength, firmware, readings,
            facts,
        ) = observation  # fmt: skip
        if presence is not None:
            if presence is _ONLINE and not snapshot and not self.marks and sequence is None:
                self.add_online(seen_at, seen_at)
            elif sequence is not None:
                self._add_transition(Transition(presence, seen_at, sequence))
            else:
                self._add_presence(presence, seen_at, snapshot)
        if battery_level is not None or signal_strength is not None:
            self._add_values(at, battery_level, signal_strength)
        if firmware or readings or facts is not None:
            self._add_lists(observation)

    def add_telemetry(
        self, at: Micros, seen_at: Micros, battery_level: int | None, signal_strength: int | None
    ) -> None:
        """Take in the commonest observation, telemetry that came by itself, without making one."""
        if self.marks:
            self._add_presence(_ONLINE, seen_at, False)
        elif self.online:
            self.add_online(seen_at, seen_at)
        else:
            self.online = [(seen_at, seen_at)]
        if battery_level is not None or signal_strength is not None:
            self._add_values(at, battery_level, signal_strength)

    def _add_values(self, at: Micros, battery_level: int | None, signal_strength: int | None) -> None:
        if battery_level is not None:
            battery = (at, battery_level)
            if self.battery is None or battery > self.battery:
                self.battery = battery
        if signal_strength is not None:
            signal = (at, signal_strength)
            if self.signal is None or signal > self.signal:
                self.signal = signal

    def _add_lists(self, observation: Observation) -> None:
        at = observation.at
        for component, version in observation.firmware:
            self.add_firmware(component, version, at)
        for reading in observation.readings:
            self.add_reading(reading.name, (at, reading.value, reading.unit))
        if observation.facts is not None:
            for field, text in told(observation.facts):
                self.add_fact(field, at, text)

    def _add_transition(self, event: Transition) -> None:
        """Take in a connection event of a cloud: when it was offline is for its stream to say."""
        if event.presence is _ONLINE:
            self.add_online(event.at, event.at)
        self._stream(event.sequence.window).add(event)

    def _stream(self, window: Micros) -> Stream:
        if not self.streams:
            self.streams = {}
        stream = self.streams.get(window)
        if stream is None:
            stream = self.streams[window] = Stream()
        return stream

    def _add_presence(self, presence: Presence, seen_at: Micros, snapshot: bool) -> None:
        if snapshot:
            self._add_snapshot(presence, seen_at)
        elif presence is _ONLINE:
            self.add_online(seen_at, seen_at)
            if self.marks and not self._marked_online:
                self._mark(seen_at, True)
        else:
            if self.offline_at is None or seen_at > self.offline_at:
                self.offline_at = seen_at
            self._mark(seen_at, False)

    def _add_snapshot(self, presence: Presence, seen_at: Micros) -> None:
        # The first of each: read again at every reconnect, a retained `online` stays as old as it is and keeps no
        # device alive, and a retained `offline` may be the one that is known already.
        if presence is _OFFLINE:
            if self.snapshot_offline_at is None or seen_at < self.snapshot_offline_at:
                self.snapshot_offline_at = seen_at
        elif self.snapshot_online_at is None or seen_at < self.snapshot_online_at:
            self.snapshot_online_at = seen_at

    def add_online(self, first: Micros, last: Micros) -> None:
        """Unite online evidence from `first` to `last`."""
        online = self.online
        if online:
            newest_first, newest_last = online[-1]
            if newest_first <= first <= newest_last + runs.GRAIN:
                if last > newest_last:
                    online[-1] = (newest_first, last)
                return
            runs.add(online, first, last)
        else:
            self.online = [(first, last)]

    def add_firmware(self, component: str, version: str, at: Micros) -> None:
        """Take in one sighting of a version."""
        known = self.firmware.get(component)
        if known is None:
            if not self.firmware:
                self.firmware = {}
            self.firmware[component] = FirmwareEvidence(version, at)
        else:
            known.add(version, at)

    def add_reading(self, name: str, reading: tuple[Micros, float, str]) -> None:
        """Keep the newest reading of each name; ties by value, then by unit."""
        known = self.readings.get(name)
        if known is None or reading > known:
            if not self.readings:
                self.readings = {}
            self.readings[name] = reading

    def add_fact(self, field: str, at: Micros, text: str) -> None:
        """Keep the newest word on each field; ties by text."""
        known = self.facts.get(field)
        if known is None or (at, text) > known:
            if not self.facts:
                self.facts = {}
            self.facts[field] = (at, text)

    def add_stream(self, window: Micros, stream: Stream) -> None:
        """Take in ordered connection events of one window."""
        self._stream(window).merge(stream)

    def _mark(self, at: Micros, online: bool) -> None:
        self._marked_online = online
        if not self.marks:
            self.marks = [(at, online)]
        elif len(self.marks) < MAX_MARKS:
            self.marks.append((at, online))
        else:
            self.dropped_marks += 1

    def merge(self, other: "Evidence") -> None:
        """Take in all of `other`."""
        for first, last in other.online:
            self.add_online(first, last)
        self.offline_at = later(self.offline_at, other.offline_at)
        self.quiet_until = later(self.quiet_until, other.quiet_until)
        if other.snapshot_offline_at is not None:
            self._add_snapshot(_OFFLINE, other.snapshot_offline_at)
        if other.snapshot_online_at is not None:
            self._add_snapshot(_ONLINE, other.snapshot_online_at)
        self.battery = max(self.battery or other.battery, other.battery or self.battery, key=_or_least)
        self.signal = max(self.signal or other.signal, other.signal or self.signal, key=_or_least)
        for component, firmware in other.firmware.items():
            for (version, _), at in firmware.points.items():
                self.add_firmware(component, version, at)
            self.add_firmware(component, firmware.version, firmware.at)
        for name, reading in other.readings.items():
            self.add_reading(name, reading)
        for at, online in other.marks:
            self._mark(at, online)
        self.dropped_marks += other.dropped_marks
        for window, stream in other.streams.items():
            self.add_stream(window, stream)
        for field, (at, text) in other.facts.items():
            self.add_fact(field, at, text)

    @classmethod
    def united(cls, one: "Evidence", other: "Evidence") -> "Evidence":
        """Return what both say together; neither is changed."""
        self = cls()
        self.merge(one)
        self.merge(other)
        return self


def coalesce(observations: Iterable[Observation], devices: dict[DeviceKey, Evidence]) -> None:
    """Take observations in, each into the evidence of its device."""
    for observation in observations:
        seen = devices.get(observation.device)
        if seen is None:
            seen = devices[observation.device] = Evidence()
        seen.add(observation)


def _or_least(value: tuple[Micros, int] | None) -> tuple[Micros, int]:
    return value or (-1, 0)
