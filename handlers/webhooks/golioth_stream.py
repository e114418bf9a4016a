"""Golioth's legacy output streams: CloudEvents in binary mode around {"data", "device_id", "project_id", "timestamp"}.

Source: Golioth documentation, output streams.
"""

from typing import Any

from handlers.events import SECOND, FieldError, Micros
from handlers.text import bad_field, described, truncate
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, each, event_id, refused
from handlers.webhooks.observing import cloud_time, named
from handlers.webhooks.reports import Envelope, reported

SOURCE = "golioth/"
"""How the header Ce-Source begins: a part of Golioth, not a device."""
_MAX_SECONDS = 10**12


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request; whatever the bytes, this raises nothing."""
    headers = request.headers
    identity = event_id(headers.get("ce-id"), headers.get("ce-source"))
    name = truncate(headers.get("ce-type", "") or "data")
    return each(
        request, lambda part: _event(part, identity if part.original is request.body else None, name, context)
    )


def _event(part: Part, own_id: str | None, name: str, context: Context) -> Event:
    body, original, fallback_id, request, room, known_errors = part
    identity = own_id or fallback_id
    errors = list(known_errors)
    device = named(body.get("device_id", body.get("deviceId")), errors)
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    cloud = _timestamp(body.get("timestamp"), errors)
    if cloud is None:
        cloud = cloud_time(request.headers, ("ce-time",), errors)
    envelope = Envelope(request, context, device, "event's device_id", cloud, room=room)
    decoded = reported(body.get("data"), envelope, errors)
    return Event(identity, decoded, name, original)


def _timestamp(value: Any, errors: list[FieldError]) -> Micros | None:
    """Return the time of {"seconds", "nanos"}, where a count may also be text, or of a usual time."""
    if not isinstance(value, dict):
        return cloud_time({"timestamp": value}, ("timestamp",), errors)
    seconds, nanos = _count(value.get("seconds")), _count(value.get("nanos", 0))
    if seconds is None or nanos is None or nanos >= 10**9:
        told = f"has {described(value.get('seconds'))} seconds and {described(value.get('nanos'))} nanos: no time"
        errors.append(bad_field("timestamp", told, value))
        return None
    return seconds * SECOND + nanos // 1000


def _count(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_SECONDS:
        return None
    return value
