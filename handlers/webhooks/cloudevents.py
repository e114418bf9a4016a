"""CloudEvents 1.0 in structured, batched and binary mode; `data` is read by the field rules of the dialect `plain`.

Source: CloudEvents JSON event format 1.0.2, sections 3 and 4; HTTP protocol binding 1.0.2, section 3.1.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from handlers.events import DeviceKey, FieldError
from handlers.telemetry import NOTHING, read
from handlers.text import truncate
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, each, event_id, refused
from handlers.webhooks.golioth_pipelines import PREFIX, path_of
from handlers.webhooks.naming import identified
from handlers.webhooks.observing import cloud_time, named
from handlers.webhooks.payload import loads
from handlers.webhooks.reports import Envelope, reported

CONTENT_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json")
_ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time")


def is_binary(headers: Mapping[str, str]) -> bool:
    """Return whether a request is an event in binary mode: its attributes are headers, its body is the data."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return "ce-specversion" in headers and media not in CONTENT_TYPES


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request; whatever the bytes, this raises nothing."""
    if is_binary(request.headers):
        return (_from_headers(request, context),)
    return each(request, lambda part: _event(part, context))


def _from_headers(request: Request, context: Context) -> Event:
    """Return the event of binary mode."""
    attributes = {
        name: unquote(request.headers[f"ce-{name}"])
        for name in _ATTRIBUTES
        if f"ce-{name}" in request.headers
    }
    errors: list[FieldError] = []
    fallback_id = event_id(request.headers.get("webhook-id"))
    try:
        data = loads(request.body, request.content_type, errors) if request.body else {}
    except ValueError as error:
        identity = event_id(attributes.get("id"), attributes.get("source")) or fallback_id
        return refused("payload", str(error), request.body, truncate(attributes.get("type", "")), identity)
    part = Part({**attributes, "data": data}, request.body, fallback_id, request, errors=tuple(errors))
    return _event(part, context)


def _event(part: Part, context: Context) -> Event:
    body, original, fallback_id, request, room, known_errors = part
    kind = body.get("type")
    name = truncate(kind) if isinstance(kind, str) else ""
    identity = event_id(body.get("id"), body.get("source")) or fallback_id
    if body.get("specversion") != "1.0" or not name:
        told = 'not a CloudEvent 1.0: it needs "specversion": "1.0" and a type, an id and a source as text'
        return refused("shape", told, original, name, identity)
    errors = list(known_errors)
    try:
        message = _data(body, errors)
    except ValueError as error:
        return refused("payload", str(error), original, name, identity)
    device, where = _device(body, name, message, context, errors)
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    topic = path_of(name).rpartition("/")[2] if name.startswith(PREFIX) else "value"
    cloud = cloud_time(body, ("time",), errors)
    envelope = Envelope(
        request, context, device, where, cloud, topic, room, words=not name.startswith(PREFIX)
    )
    return Event(identity, reported(message, envelope, errors), name, original)


def _data(body: dict[str, Any], errors: list[FieldError]) -> object:
    """Return the event's data, also where an object or array is in it as text. Raises: ValueError."""
    content_type = body.get("datacontenttype")
    media = content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""
    encoded = body.get("data_base64")
    if encoded is None:
        data = body.get("data", {})
        if isinstance(data, str) and data.lstrip().startswith(("{", "[")):
            return loads(data.encode("utf-8", "surrogatepass"), media, errors)
        return data
    try:
        raw = base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except (binascii.Error, ValueError):
        raw = None
    if raw is None:
        raise ValueError("data_base64 is not base64")
    return loads(raw, media, errors)


def _device(
    body: dict[str, Any], name: str, message: object, context: Context, errors: list[FieldError]
) -> tuple[DeviceKey | str, str]:
    """Return the device and what named it: Golioth's source, else the subject, else the data."""
    if name.startswith(PREFIX):
        return named(body.get("source"), errors, "source"), "source"
    subject = body.get("subject")
    if subject is not None and subject != "":
        plain = subject.removeprefix("devices/") if isinstance(subject, str) else subject
        return named(plain, errors, "subject"), "subject"
    if isinstance(message, dict):
        fields = read(message, context.field_paths, []) if message else NOTHING
        return identified(message, fields, errors), "data"
    return "the event names no device: send it as subject, or as device_id inside data", "data"
