"""Azure IoT Hub events through Event Grid, in its own schema or as CloudEvents.

Source: Azure Event Grid documentation, IoT Hub as a source; endpoint validation.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from handlers.events import Decoded, DeviceKey, Facts, FieldError, Lifecycle, Micros, Presence
from handlers.sequences import azure_sequence
from handlers.text import bad_field, described, truncate
from handlers.webhooks.delivery import Context, Event, Handshake, Part, Request, event_id, parts, refused
from handlers.webhooks.observing import cloud_time, inner, named, observed
from handlers.webhooks.payload import loads
from handlers.webhooks.reports import Envelope, reported

HUB = "Microsoft.Devices."
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
PRESENCES: Mapping[str, Presence] = {
    "DeviceConnected": Presence.ONLINE,
    "DeviceDisconnected": Presence.OFFLINE,
}
LIFECYCLES: Mapping[str, Lifecycle] = {"DeviceCreated": "created", "DeviceDeleted": "deleted"}
TELEMETRY = "DeviceTelemetry"
_KNOWN = (*PRESENCES, *LIFECYCLES, TELEMETRY)
ENCODINGS = ("utf-16", "utf-32")
"""Of a message's body, besides UTF-8. Source: Azure IoT Hub, message routing queries."""
_MAX_CODE = 512
_IGNORED = Decoded()


def type_of(body: Mapping[str, Any]) -> str:
    """Return the type of an event in either schema, or an empty text."""
    kind = body.get("eventType", body.get("type"))
    return kind if isinstance(kind, str) else ""


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request, or the handshake; whatever the bytes, this raises nothing."""
    events: list[Event] = []
    for part in parts(request):
        if not isinstance(part, Part):
            events.append(part)
        elif type_of(part.body) == VALIDATION:
            return _handshake(part)
        else:
            events.append(_event(part, context))
    return tuple(events)


def _handshake(part: Part) -> tuple[Event, ...] | Handshake:
    code = inner(part.body, "data").get("validationCode")
    if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE or not code.isprintable():
        return (
            refused("shape", "the validation event has no usable validationCode", part.original, VALIDATION),
        )
    return Handshake("azure_validation", code=code)


def _event(part: Part, context: Context) -> Event:
    body, original, fallback_id, request, room, known_errors = part
    kind = type_of(body)
    name = truncate(kind)
    identity = event_id(body.get("id"), body.get("topic", body.get("source"))) or fallback_id
    short = kind.removeprefix(HUB)
    if short == kind or short not in _KNOWN:
        told = f"the event is {described(kind)}: this shape knows {HUB}{', '.join(_KNOWN)}"
        return refused("event", told, original, name, identity)
    data = body.get("data")
    if not isinstance(data, dict):
        return refused("shape", f"data is {described(data)}: send an object", original, name, identity)
    system = inner(data, "systemProperties")
    if data.get("moduleId") or system.get("iothub-connection-module-id"):
        return Event(identity, _IGNORED, name, original)
    errors = list(known_errors)
    device = named(data.get("deviceId", system.get("iothub-connection-device-id")), errors, "deviceId")
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    cloud = cloud_time(system, ("iothub-enqueuedtime",), errors)
    if cloud is None:
        cloud = cloud_time(body, ("eventTime", "time"), errors)
    if short == TELEMETRY:
        envelope = Envelope(request, context, device, "hub's device id", cloud, room=room)
        try:
            message = _message(data, system, errors)
        except ValueError as error:
            return refused("payload", f"the body cannot be read: {error}", original, name, identity)
        return Event(identity, reported(message, envelope, errors), name, original)
    return Event(identity, _lifecycle(short, data, device, request, context, cloud, errors), name, original)


def _lifecycle(
    short: str,
    data: dict[str, Any],
    device: DeviceKey,
    request: Request,
    context: Context,
    cloud: Micros | None,
    errors: list[FieldError],
) -> Decoded:
    if short in LIFECYCLES:
        facts = Facts(lifecycle=LIFECYCLES[short])
        return observed(request, context, device, errors, cloud=cloud, facts=facts)
    number = inner(data, "deviceConnectionStateEventInfo").get("sequenceNumber")
    sequence = azure_sequence(number)
    if sequence is None:
        told = f"is {described(number)}, not up to 64 hexadecimal digits: the time orders the event"
        errors.append(bad_field("sequenceNumber", told, number))
    presence = PRESENCES[short]
    return observed(request, context, device, errors, presence=presence, cloud=cloud, sequence=sequence)


def _message(data: dict[str, Any], system: dict[str, Any], errors: list[FieldError]) -> object:
    """Return the device's own message: JSON where the device said so, else base64. Raises: ValueError."""
    message = data.get("body")
    if not isinstance(message, str):
        return message
    try:
        raw = base64.b64decode(message, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None
    encoding = system.get("iothub-content-encoding")
    if isinstance(encoding, str) and encoding.strip().lower() in ENCODINGS:
        raw = raw.decode(encoding.strip()).encode()
    kind = system.get("iothub-content-type")
    media = kind.partition(";")[0].strip().lower() if isinstance(kind, str) else ""
    return loads(raw, media, errors)
