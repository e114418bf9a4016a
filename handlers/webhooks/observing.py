"""From what an event says to an observation: whose clock counts for what, and which device it is about."""

from collections.abc import Mapping
from typing import Any

from handlers import facts as facts_of
from handlers import timestamps
from handlers.ages import Age
from handlers.events import (
    MAX_EXTERNAL_ID,
    Decoded,
    DeviceKey,
    Facts,
    FieldError,
    Liveness,
    Micros,
    Observation,
    Presence,
    Sequence,
)
from handlers.shapes import Fields
from handlers.telemetry import NOTHING, capped
from handlers.text import bad_field, clipped, truncate
from handlers.webhooks.delivery import Context, Request
from handlers.words import went_offline

Errors = list[FieldError]
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments."""


def observed(
    request: Request,
    context: Context,
    device: DeviceKey,
    errors: Errors,
    *,
    fields: Fields = NOTHING,
    presence: Presence | None = None,
    cloud: Micros | None = None,
    sequence: Sequence | None = None,
    facts: Facts | None = None,
    age: Age | None = None,
) -> Decoded:
    """Return one observation at its times (two where values of an offline event have a time of their own).

    `cloud` is the sending cloud's clock, trusted for presence wherever it is usable; `fields.time` is the device's, and
    counts for its values, and for presence only with the liveness `event_time`. Else the time is when it came.
    """
    received_at = request.received_at
    if age is None:
        at, seen_at, is_own, skewed = _dated(received_at, context.liveness, cloud, fields.time)
    else:
        at, seen_at, is_own, skewed = _aged(received_at, context.liveness, cloud, age)
    offline = presence is Presence.OFFLINE
    seen = (
        context.integration_id, device, seen_at if offline else at, seen_at, received_at, "webhook", sequence, presence,
        False, fields.battery_level, fields.signal_strength, fields.firmware, fields.readings, facts,
    )  # fmt: skip
    observation = _new(Observation, seen)
    if offline:
        said_time = fields.time is not None
        decoded = went_offline(observation, at if is_own else None, errors, said_time=said_time)
        return decoded._replace(skewed=skewed)
    return _new(Decoded, ((observation,), capped(errors) if errors else (), skewed, None))


_Dates = tuple[Micros, Micros, bool, bool]
"""When it was measured, the presence time, whether the first is the device's own, whether a clock was not usable."""


def _dated(received_at: Micros, liveness: Liveness, cloud: Micros | None, time: Micros | None) -> _Dates:
    """Return the times of an event by the cloud's clock and the device's."""
    seen_at, skewed = received_at, False
    if cloud is not None:
        if timestamps.usable(cloud, received_at, liveness.max_ahead):
            seen_at = cloud
        else:
            cloud, skewed = None, True
    if time is None:
        return seen_at, seen_at, False, skewed
    if not timestamps.device_usable(time, received_at, liveness):
        return seen_at, seen_at, False, True
    return time, time if cloud is None and liveness.event_time else seen_at, True, skewed


def _aged(received_at: Micros, liveness: Liveness, cloud: Micros | None, age: Age) -> _Dates:
    """Return the times of one entry of a batch, which is of the message's time or of its own."""
    skewed = age.skewed
    if cloud is not None and not timestamps.usable(cloud, received_at, liveness.max_ahead):
        cloud, skewed = None, True
    is_own = age.time is not None
    if is_own and cloud is None and liveness.event_time:
        return age.at, age.at, True, skewed
    return age.at, (received_at if cloud is None else cloud) - age.lag, is_own, skewed


def is_silent(fields: Fields) -> bool:
    """Return whether an object holds no value that a row keeps."""
    return fields[:4] == NOTHING[:4]


def inner(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object under a key, or an empty one."""
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def cloud_time(body: Mapping[str, Any], keys: tuple[str, ...], errors: Errors) -> Micros | None:
    """Return the first of a cloud's times that is one; what is none is a field error."""
    for key in keys:
        value = body.get(key)
        if value is None:
            continue
        time = timestamps.micros(value)
        if isinstance(time, int):
            return time
        errors.append(bad_field(key, time, value))
    return None


def named(external_id: object, errors: Errors, key: str = "device_id") -> DeviceKey | str:
    """Return the device that a cloud names by its external id, or a text that says why it is none."""
    own: Errors = []
    found = facts_of.text({key: external_id}, (key,), MAX_EXTERNAL_ID, own)
    if found is not None:
        return DeviceKey(found)
    errors += own
    return clipped(f"{key} {own[0].error}") if own else f"the event has no {key}, which names its device"


def compare(fields: Fields, device: DeviceKey, errors: Errors, where: str) -> None:
    """Count a payload that names another device than the envelope does: the envelope counts."""
    if fields.device is not None and fields.device[1].strip() != device.external_id:
        name, claim = fields.device
        told = f'names "{truncate(claim)}", the {where} "{truncate(device.external_id or "")}": the {where} counts'
        errors.append(bad_field(name, told, claim))
