"""Golioth Pipelines, destination `webhook`: the body is the device's own payload, the headers say whose.

Source: Golioth documentation, Pipelines, webhook destination.
"""

from handlers.events import FieldError
from handlers.text import truncate
from handlers.webhooks.delivery import Context, Event, Handshake, Request, event_id, refused
from handlers.webhooks.observing import named
from handlers.webhooks.payload import loads
from handlers.webhooks.reports import Envelope, reported

PREFIX = "io.golioth.data.v1/"
_STREAM = ".s/"


def path_of(ce_type: str) -> str:
    """Return the path out of `io.golioth.data.v1/.s/sensor` or `io.golioth.data.v1/sensor`: `sensor`."""
    return ce_type.removeprefix(PREFIX).removeprefix(_STREAM).strip("/")


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the one event of a request; whatever the bytes, this raises nothing."""
    headers, body = request.headers, request.body
    path = path_of(headers.get("ce-type", ""))
    name = truncate(path)
    identity = event_id(headers.get("ce-id"), headers.get("ce-source")) or event_id(headers.get("webhook-id"))
    device = named(headers.get("ce-source"), [], "Ce-Source")
    if isinstance(device, str):
        return (refused("device_id", device, body, name, identity),)
    errors: list[FieldError] = []
    try:
        message = loads(body, request.content_type, errors)
    except ValueError as error:
        return (refused("payload", str(error), body, name, identity),)
    topic = path.rpartition("/")[2] or "value"
    envelope = Envelope(request, context, device, "header Ce-Source", topic=topic)
    return (Event(identity, reported(message, envelope, errors), name, body),)
