"""Observations out of a live answer: its values that are newer than the row, with the provider's own times."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from handlers.events import SECOND, DeviceKey, Micros, Observation, Presence
from ingest.providers.port import ListedDevice

MAX_AHEAD: Micros = 300 * SECOND
"""A time further in the future is a clock that is wrong."""


class KnownTimes(NamedTuple):
    """How new what the row knows is; None where it knows nothing. `firmware` is component -> time."""

    online_at: Micros | None = None
    offline_at: Micros | None = None
    battery_at: Micros | None = None
    signal_at: Micros | None = None
    firmware: Mapping[str, Micros] = {}


def newer_observations(
    integration_id: UUID, known: KnownTimes, listed: ListedDevice, received_at: Micros
) -> tuple[Observation, ...]:
    """Return what is newer than `known`. A value without a time of the provider's own is left out."""
    key = DeviceKey(listed.external_id)
    limit = received_at + MAX_AHEAD
    found: list[Observation] = []

    def add(at: Micros | None, before: Micros | None, **values: Any) -> None:
        if at is not None and at <= limit and (before is None or at > before):
            found.append(Observation(integration_id, key, at, at, received_at, "api", **values))

    add(listed.online_at, known.online_at, presence=Presence.ONLINE)
    add(listed.offline_at, known.offline_at, presence=Presence.OFFLINE)
    if listed.connected:
        add(listed.connected_at, known.online_at, presence=Presence.ONLINE)
    elif listed.connected is not None:
        add(listed.connected_at, known.offline_at, presence=Presence.OFFLINE)
    if listed.battery_level is not None:
        add(listed.battery_at, known.battery_at, battery_level=listed.battery_level)
    if listed.signal_strength is not None:
        add(listed.signal_at, known.signal_at, signal_strength=listed.signal_strength)
    for component, version, at in listed.firmware:
        add(at, known.firmware.get(component), firmware=((component, version),))
    return tuple(found)
