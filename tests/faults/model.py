"""The model: the pure rules over all that was acknowledged to its sender and has a time of its own."""

import time
from uuid import UUID

from handlers.dialects import plain
from handlers.events import DeviceKey, Liveness, Observation, Publish
from handlers.evidence import Evidence, coalesce
from handlers.topics import Topics
from handlers.webhooks import delivery, shapes
from tests.faults.cloud import BATTERY, Cloud
from tests.faults.rows import Row, row_of
from tests.faults.webhooks import CLOUDEVENT, Webhooks
from tests.faults.workload import Devices

_MQTT = plain.Context(UUID(int=1), Topics.parse(None), Liveness(event_time=True))
_HOOK = delivery.Context(UUID(int=2))


class Model:
    """Follows what was acknowledged while it grows, so that nothing has to wait for it at the end."""

    def __init__(self, devices: Devices, webhooks: Webhooks, cloud: Cloud) -> None:
        self._devices = devices
        self._webhooks = webhooks
        self._followed = [0, 0]
        self._evidence = {name: listed(*times) for name, times in cloud.seen.items()}

    def follow(self) -> None:
        """Take in what was acknowledged since the last time."""
        now = time.time_ns() // 1_000
        said = self._devices.acknowledged[self._followed[0] :]
        for message, _, _ in said:
            if message.number is None:
                self._absorb(published(message.topic, message.payload, now))
        posted = self._webhooks.dated[self._followed[1] :]
        for event in posted:
            self._absorb(delivered(event, now))
        self._followed = [self._followed[0] + len(said), self._followed[1] + len(posted)]

    def _absorb(self, observations: tuple[Observation, ...]) -> None:
        assert observations
        found: dict[DeviceKey, Evidence] = {}
        coalesce(observations, found)
        for key, evidence in found.items():
            self._evidence.setdefault(key.external_id or "", Evidence()).merge(evidence)

    def rows(self) -> dict[str, Row]:
        """Return the row of each device all of whose messages have a time."""
        return {name: row_of(evidence) for name, evidence in self._evidence.items()}


def published(topic: str, payload: bytes, received_at: int) -> tuple[Observation, ...]:
    """Return what a PUBLISH says that was received at a time."""
    publish = Publish(topic, payload, 1, False, False, 1, received_at, len(payload))
    return plain.decode(publish, _MQTT, None).observations


def delivered(event: bytes, received_at: int) -> tuple[Observation, ...]:
    """Return what an event says that was received at a time."""
    decoded = shapes.decode(delivery.Request(event, CLOUDEVENT, received_at), _HOOK)
    return tuple(
        observation
        for one in decoded
        if isinstance(one, delivery.Event)
        for observation in one.decoded.observations
    )


def listed(online_at: int, offline_at: int) -> Evidence:
    """Return what a listing says of a device: nothing in it is newer than any event."""
    evidence = Evidence()
    evidence.add_online(online_at, online_at)
    evidence.offline_at = offline_at
    evidence.battery = (0, BATTERY)
    return evidence
