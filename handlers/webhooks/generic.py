"""Any JSON object, or an array of them, by the field rules of the dialect `plain`; the device stands at the top."""

from handlers.events import FieldError, Presence
from handlers.telemetry import read
from handlers.text import shown
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, each, event_id, refused
from handlers.webhooks.observing import identified, observed
from handlers.words import spoken


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request; whatever the bytes, this raises nothing."""
    return each(request, lambda part: _event(part, context))


def _event(part: Part, context: Context) -> Event:
    body, original, fallback_id, request, _ = part
    errors: list[FieldError] = []
    fields = read(body, context.field_paths, errors)
    name = next((shown(body[key]) for key in ("event", "type") if isinstance(body.get(key), str)), "")
    identity = fallback_id or event_id(body.get("event_id"), "generic")
    device = identified(body, fields, errors)
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    presence = spoken(fields.words) or Presence.ONLINE
    decoded = observed(request, context, device, errors, fields=fields, presence=presence)
    return Event(identity, decoded, name, original)
