"""The platform's own events for Golioth, in both forms: `device_name` at the top, or a `device` object.

Golioth's name of a device is its serial number.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from handlers import facts as facts_of
from handlers.events import (
    MAX_EXTERNAL_ID,
    MAX_READING_UNIT,
    MAX_SERIAL_NUMBER,
    Decoded,
    DeviceKey,
    Facts,
    FieldError,
    GoliothStatus,
    Lifecycle,
    Micros,
    Observation,
    Presence,
)
from handlers.shapes import Fields
from handlers.telemetry import NOTHING, read
from handlers.text import bad_field, clipped, described, truncate
from handlers.timestamps import usable
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, each, refused
from handlers.webhooks.observing import cloud_time, inner, observed
from handlers.words import Words, spoken

PRESENCES: Mapping[str, Presence | None] = {
    "device.telemetry": Presence.ONLINE,
    "device.online": Presence.ONLINE,
    "device.connected": Presence.ONLINE,
    "device.offline": Presence.OFFLINE,
    "device.disconnected": Presence.OFFLINE,
    "device.updated": None,
    "device.status_changed": None,
    "device.created": None,
    "device.deleted": None,
}
_LIFECYCLES: Mapping[str, Lifecycle] = {"device.created": "created", "device.deleted": "deleted"}
_SAY_THEIR_STATUS = ("device.updated", "device.status_changed")
_IDS = ("id", "deviceId", "device_id")
_LAST_SEEN = ("lastSeen", "last_seen")
_NO_WORD = ("", "-", "unknown")
"""What stands for a status that nobody knows: Golioth's own is always a dash."""

Errors = list[FieldError]


class Said(NamedTuple):
    """What an event says of the device's connection, and of its being enabled."""

    presence: Presence | None
    status: GoliothStatus | None


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request; whatever the bytes, this raises nothing."""
    return each(request, lambda part: _event(part, context))


def _event(part: Part, context: Context) -> Event:
    body, original, identity, request = part.body, part.original, part.fallback_id, part.request
    name = body.get("event")
    if not isinstance(name, str) or name not in PRESENCES:
        told = f"the event is {described(name)}: this shape knows {', '.join(PRESENCES)}"
        return refused("event", told, original, truncate(name) if isinstance(name, str) else "", identity)
    errors = list(part.errors)
    device = inner(body, "device")
    key = _key(body, device, errors)
    if isinstance(key, str):
        return refused("device_id", key, original, name, identity)
    unknown: Errors = []
    said = _said(name, {**body, **device}, context.words, unknown)
    if name == "device.status_changed" and unknown and said == (None, None):
        return refused("presence", f"status {unknown[0].error}", original, name, identity)
    errors += unknown
    facts = _facts(name, device, key, said.status, errors)
    return Event(identity, _decoded(body, said, facts, key, request, context, errors), name, original)


def _key(body: dict[str, Any], device: dict[str, Any], errors: Errors) -> DeviceKey | str:
    own: Errors = []
    external_id = facts_of.text(device, _IDS, MAX_EXTERNAL_ID, own)
    if external_id is None:
        external_id = facts_of.text(body, _IDS[1:], MAX_EXTERNAL_ID, own)
    serial_number = facts_of.text(device, ("name",), MAX_SERIAL_NUMBER, own)
    if serial_number is None:
        serial_number = facts_of.text(body, ("device_name", "deviceName"), MAX_SERIAL_NUMBER, own)
    errors += own
    if external_id is None and serial_number is None:
        told = "the event names no device: send device_name, or a device with an id or a name"
        return clipped(f"{own[0].field} {own[0].error}; {told}") if own else told
    return DeviceKey(external_id, serial_number)


def _said(name: str, both: dict[str, Any], words: Words, errors: Errors) -> Said:
    """Return what the event's name and its words `status` and `state` say; an unknown word is a field error."""
    told = [(key, both.get(key)) for key in ("status", "state")]
    status = next((found for _, word in told if (found := facts_of.golioth_status(word))), None)
    if name not in _SAY_THEIR_STATUS:
        return Said(PRESENCES[name], status)
    return Said(spoken([one for one in told if _is_presence(one[1])], errors, words), status)


def _is_presence(word: object) -> bool:
    """Return whether a word is meant to be presence: not about being enabled, and not that nobody knows."""
    if word is None or isinstance(word, dict | list) or facts_of.golioth_status(word):
        return False
    return str(word).strip().lower() not in _NO_WORD


def _decoded(
    body: dict[str, Any],
    said: Said,
    facts: Facts | None,
    key: DeviceKey,
    request: Request,
    context: Context,
    errors: Errors,
) -> Decoded:
    fields = _fields(body, context, errors)
    cloud = cloud_time(body, ("timestamp",), errors)
    seen = cloud_time(inner(body, "device") or body, _LAST_SEEN, errors)
    decoded = observed(
        request, context, key, errors, fields=fields, presence=said.presence, cloud=cloud, facts=facts
    )
    if facts is not None and facts.lifecycle == "deleted":
        return decoded
    alive = _last_seen(decoded.observations[0], seen, context)
    return decoded._replace(observations=decoded.observations + alive)


def _last_seen(main: Observation, seen: Micros | None, context: Context) -> tuple[Observation, ...]:
    """Return when Golioth last heard the device, which is evidence of that time whatever its status is now."""
    if seen is None or main.presence is Presence.ONLINE or seen >= main.seen_at:
        return ()
    if not usable(seen, main.received_at, context.liveness.max_ahead):
        return ()
    bare = Observation(main.integration_id, main.device, seen, seen, main.received_at, "webhook")
    return (bare._replace(presence=Presence.ONLINE),)


def _fields(body: dict[str, Any], context: Context, errors: Errors) -> Fields:
    """Read `telemetry`, where one sensor's value may stand as {"sensor", "type", "units", "value"}."""
    telemetry = body.get("telemetry", body.get("data"))
    if not isinstance(telemetry, dict):
        if telemetry is not None:
            told = f"is {described(telemetry)}, not an object"
            errors.append(bad_field("telemetry", told, telemetry))
        return NOTHING
    telemetry = dict(telemetry)
    if "value" in telemetry:
        kind, value = telemetry.pop("type", None), telemetry.pop("value")
        unit = telemetry.pop("units", telemetry.pop("unit", None))
        named = (str(part) for part in (telemetry.get("sensor"), kind) if isinstance(part, str | int))
        sensor = "/".join(named) or "value"
        telemetry.setdefault(sensor, value)
        return _with_unit(read(telemetry, context.field_paths, errors), sensor, unit)
    return read(telemetry, context.field_paths, errors)


def _with_unit(fields: Fields, sensor: str, unit: object) -> Fields:
    text = str(unit) if isinstance(unit, str | int) and not isinstance(unit, bool) else ""
    if not text or facts_of.text({"unit": text}, ("unit",), MAX_READING_UNIT, []) is None:
        return fields
    readings = (one._replace(unit=text) if one.name == sensor else one for one in fields.readings)
    return fields._replace(readings=tuple(readings))


def _facts(
    name: str, device: dict[str, Any], key: DeviceKey, status: GoliothStatus | None, errors: Errors
) -> Facts | None:
    """Return what the event tells about the device itself, or None for nothing."""
    facts = Facts(
        name=facts_of.text(device, ("name",), facts_of.MAX_NAME, []),
        serial_number=key.serial_number if device else None,
        hardware_ids=facts_of.texts(
            device, ("hardwareIds", "hardware_ids"), facts_of.MAX_HARDWARE_ID, errors
        ),
        cohort_id=facts_of.text(device, ("cohortId", "cohort_id"), facts_of.MAX_COHORT_ID, errors),
        golioth_status=status,
        metadata=facts_of.metadata(device.get("metadata"), errors),
        tags=facts_of.texts(device, ("tags", "tagIds"), facts_of.MAX_TAG, errors),
        lifecycle=_LIFECYCLES.get(name),
    )
    return None if facts == Facts() else facts
