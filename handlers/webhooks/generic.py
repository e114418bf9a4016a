"""Any JSON object, or an array of them, by the field rules of the dialect `plain`; the device stands at the top."""

from typing import Any

from handlers.events import Decoded, Presence
from handlers.telemetry import capped, read
from handlers.text import truncate
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, each, event_id, refused
from handlers.webhooks.naming import identified
from handlers.webhooks.observing import is_silent, observed
from handlers.words import spoken

_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments."""


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request; whatever the bytes, this raises nothing."""
    return each(request, lambda part: _event(part, context))


def _event(part: Part, context: Context) -> Event:
    body, original, fallback_id, request, _, known_errors = part
    errors = list(known_errors)
    fields = read(body, context.field_paths, errors)
    name = _name(body)
    identity = fallback_id or event_id(body.get("event_id"), "generic")
    device = identified(body, fields, errors)
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    presence = spoken(fields.words, errors, context.words) if fields.words else Presence.ONLINE
    if presence is None and is_silent(fields):
        return Event(identity, Decoded((), capped(errors)), name, original)
    decoded = observed(request, context, device, errors, fields=fields, presence=presence)
    return _new(Event, (identity, decoded, name, original))


def _name(body: dict[str, Any]) -> str:
    """Return what its sender calls the event."""
    for key in ("event", "type"):
        value = body.get(key)
        if isinstance(value, str):
            return truncate(value)
    return ""
