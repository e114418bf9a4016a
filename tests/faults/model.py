"""What the pure rules say that the rows must be, given all that was acknowledged to its sender."""

import time
from typing import NamedTuple
from uuid import UUID

from handlers.dialects import plain
from handlers.events import Liveness, Publish
from handlers.evidence import Evidence, coalesce
from handlers.firmware import history
from handlers.presence import presence
from handlers.topics import Topics
from handlers.webhooks import delivery, shapes
from tests.faults.webhooks import CLOUDEVENT, Webhooks
from tests.faults.workload import Devices

OFFLINE_AFTER_S = 86_400
"""No device is silent for so long, whatever its clock says: silences have tests of their own."""


class Row(NamedTuple):
    """All that is a function of what a device said. Times in microseconds since 1970; readings: (name, value, at)."""

    status: str
    last_seen_online: int | None
    last_seen_offline: int | None
    battery_level: int | None
    signal_strength: int | None
    firmware_version: str | None
    installs: tuple[tuple[str, int, str, str], ...]
    """(component, at, version, source)."""
    readings: tuple[tuple[str, float, int], ...]


class Model:
    """Follows what was acknowledged while it grows, so that nothing has to wait for it at the end."""

    def __init__(self, devices: Devices, webhooks: Webhooks) -> None:
        self._devices = devices
        self._webhooks = webhooks
        self._followed = [0, 0]
        self._evidence: dict[str, Evidence] = {}
        self._mqtt = plain.Context(UUID(int=1), Topics.parse(None), Liveness(event_time=True))
        self._hook = delivery.Context(UUID(int=2))

    def follow(self) -> None:
        """Take in what was acknowledged since the last time."""
        now = time.time_ns() // 1_000
        said = self._devices.acknowledged[self._followed[0] :]
        for (topic, payload, is_dated), _ in said:
            if is_dated:
                publish = Publish(topic, payload, 1, False, False, 1, now, len(payload))
                self._absorb(plain.decode(publish, self._mqtt, None).observations)
        posted = self._webhooks.answered[self._followed[1] :]
        for event in posted:
            decoded = shapes.decode(delivery.Request(event, CLOUDEVENT, now), self._hook)
            assert isinstance(decoded, tuple)
            for one in decoded:
                self._absorb(one.decoded.observations)
        self._followed = [self._followed[0] + len(said), self._followed[1] + len(posted)]

    def _absorb(self, observations: tuple[plain.Observation, ...]) -> None:
        assert observations
        found: dict[plain.DeviceKey, Evidence] = {}
        coalesce(observations, found)
        for key, evidence in found.items():
            self._evidence.setdefault(key.external_id or "", Evidence()).merge(evidence)

    def rows(self) -> dict[str, Row]:
        """Return the row of each device all of whose messages have a time."""
        return {name: _row(evidence) for name, evidence in self._evidence.items()}


def _row(evidence: Evidence) -> Row:
    seen = presence(evidence, OFFLINE_AFTER_S * 10**6, None)
    main = evidence.firmware.get("main")
    installs = [
        (component, install.at, install.version, "unknown" if index else "factory_default")
        for component, firmware in sorted(evidence.firmware.items())
        for index, install in enumerate(history(firmware))
    ]
    return Row(
        str(seen.status or "offline"),
        seen.last_seen_online,
        seen.last_seen_offline,
        evidence.battery[1] if evidence.battery else None,
        evidence.signal[1] if evidence.signal else None,
        main.version if main else None,
        tuple(installs),
        tuple((name, value, at) for name, (at, value, _) in sorted(evidence.readings.items())),
    )
