"""From a listed device to observations, and to the JSON in which it waits in staging.

That a device is listed says nothing about it being online at that moment: only the provider's own times count. What has
none is dated `lag` before the request, so that it fills what is empty or replaces what is older than that.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson

from handlers.events import DeviceKey, Facts, FieldError, GoliothStatus, Micros, Observation, Presence
from handlers.evidence import Evidence
from ingest.providers.port import Installed, ListedDevice

_DEFAULTS = ListedDevice("")[:-1]
_TIMES = ("online_at", "offline_at", "battery_at", "signal_at", "updated_at")
_LISTS = ("hardware_ids", "tags")


class Dating(NamedTuple):
    """How listed values get their times, in microseconds."""

    lag: Micros
    max_ahead: Micros


def to_json(device: ListedDevice) -> str:
    """Return what `from_json` takes: all that is said, without the problems."""
    said = {
        name: value
        for name, value, default in zip(device._fields, device, _DEFAULTS, strict=False)
        if value is not default and value != default
    }
    return orjson.dumps(said, default=list).decode()


def from_json(form: str) -> ListedDevice:
    """Return the device that `to_json` wrote."""
    said: dict[str, Any] = orjson.loads(form)
    for name in _LISTS:
        if name in said:
            said[name] = tuple(said[name])
    if "firmware" in said:
        said["firmware"] = tuple(Installed(*one) for one in said["firmware"])
    return ListedDevice(**said)


def digest_of(device: ListedDevice) -> int | None:
    """Return what tells whether an entry says the same facts as before; None where its facts have no time."""
    if device.updated_at is None:
        return None
    said = orjson.dumps(
        (
            device.external_id, device.name, device.serial_number, device.hardware_ids, device.cohort_id,
            device.golioth_status, device.tags, device.metadata, device.updated_at,
        )
    )  # fmt: skip
    return int.from_bytes(blake2b(said, digest_size=8).digest(), signed=True)


def key_of(device: ListedDevice) -> DeviceKey:
    """Return how the listing names a device."""
    return DeviceKey(device.external_id, device.serial_number, tuple(sorted(device.hardware_ids)))


def problems_of(device: ListedDevice, listed_at: Micros, dating: Dating) -> list[FieldError]:
    """Return what of a device cannot be used: what its provider module found, and times in the future."""
    latest = listed_at + dating.max_ahead
    if not device.problems and _newest(device) <= latest:
        return []
    times = [(name, getattr(device, name)) for name in _TIMES]
    times += [(f"firmware.{one.component}", one.at) for one in device.firmware]
    ahead = [name for name, at in times if at is not None and at > latest]
    return [*device.problems, *(FieldError(name, "is dated in the future") for name in ahead)]


def _newest(device: ListedDevice) -> Micros:
    """Return the newest of all times of an entry, 0 where it has none."""
    given = device.online_at, device.offline_at, device.battery_at, device.signal_at, device.updated_at
    return max(*(at or 0 for at in given), *(one.at or 0 for one in device.firmware))


def evidence_of(
    integration_id: UUID,
    device: ListedDevice,
    listed_at: Micros,
    dating: Dating,
    *,
    proves_silence: bool = False,
) -> Evidence:
    """Return what a listed device says, coalesced.

    Its times leave no marks: a listing repeats itself, and only a change of status is a row of the timeline.
    `proves_silence`: the listing is complete and its provider knows no connection state, so a device whose last
    report is older than offline_after was silent until `lag` before the listing.
    """
    evidence = Evidence()
    for observation in observations(integration_id, device, listed_at, dating):
        evidence.add(observation)
    if evidence.marks:
        evidence.marks = []
    if proves_silence and device.online_at is not None:
        evidence.quiet_until = listed_at - dating.lag
    return evidence


def observations(
    integration_id: UUID, device: ListedDevice, listed_at: Micros, dating: Dating
) -> Iterator[Observation]:
    """Yield what a listed device says: one observation a time. `listed_at` is when its page was asked for."""
    key, latest, undated = key_of(device), listed_at + dating.max_ahead, listed_at - dating.lag

    def dated(at: Micros | None, **said: Any) -> Observation:
        when = undated if at is None else at
        return Observation(integration_id, key, when, when, listed_at, "reconcile", **said)

    for at, presence in ((device.online_at, Presence.ONLINE), (device.offline_at, Presence.OFFLINE)):
        if at is not None and at <= latest:
            yield dated(at, presence=presence)
    if device.battery_level is not None and (device.battery_at or 0) <= latest:
        yield dated(device.battery_at, battery_level=device.battery_level)
    if device.signal_strength is not None and (device.signal_at or 0) <= latest:
        yield dated(device.signal_at, signal_strength=device.signal_strength)
    for component, version, at in device.firmware:
        if (at or 0) <= latest:
            yield dated(at, firmware=((component, version),))
    updated_at = device.updated_at
    yield dated(updated_at if (updated_at or 0) <= latest else None, facts=_facts(device))


def _facts(device: ListedDevice) -> Facts:
    return Facts(
        name=device.name,
        serial_number=device.serial_number,
        hardware_ids=tuple(sorted(device.hardware_ids)) or None,
        cohort_id=device.cohort_id,
        golioth_status=cast("GoliothStatus | None", device.golioth_status),
        metadata=device.metadata,
        tags=tuple(sorted(device.tags)),
    )
