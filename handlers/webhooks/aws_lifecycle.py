"""AWS IoT lifecycle events, sent by a rule's HTTP action, or through an SNS topic.

Source: AWS IoT Core developer guide, lifecycle events, HTTP action destinations; Amazon SNS developer guide, HTTP/S
message formats.
"""

from collections.abc import Mapping
from typing import Any, Literal

from handlers import facts as facts_of
from handlers.events import Decoded, DeviceKey, Facts, FieldError, Presence
from handlers.sequences import aws_sequence
from handlers.text import bad_field, described, truncate
from handlers.tolerant import NotJsonError
from handlers.webhooks.delivery import (
    Context,
    Event,
    Handshake,
    Part,
    Request,
    event_id,
    parsed,
    parts,
    refused,
)
from handlers.webhooks.observing import cloud_time, named, observed

PRESENCES: Mapping[str, Presence] = {"connected": Presence.ONLINE, "disconnected": Presence.OFFLINE}
IGNORED = ("connect_failed",)
"""Events that change nothing: a connection that was refused says nothing about one that is there."""
SNS_TYPES = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
DEVICE_KEYS = ("deviceId", "thingName", "clientId")
KINDS = ("eventType", "connectionState")


def is_sns(body: Mapping[str, Any]) -> bool:
    """Return whether the body is SNS's envelope and not a message that it delivers raw."""
    return body.get("Type") in SNS_TYPES and "TopicArn" in body


def is_destination(body: Mapping[str, Any]) -> bool:
    """Return whether AWS asks to confirm the destination of a rule's HTTP action, which it does without any secret."""
    return body.get("messageType") == "DestinationConfirmation" and "enableUrl" in body


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request, or a handshake; whatever the bytes, this raises nothing."""
    events: list[Event] = []
    for part in parts(request):
        if not isinstance(part, Part):
            events.append(part)
        elif is_destination(part.body):
            return _handshake("aws_destination", part.body, "enableUrl", "arn", "confirmationToken")
        elif not is_sns(part.body):
            events.append(_event(part, part.body, context))
        elif part.body["Type"] == "Notification":
            events += _unwrapped(part, context)
        elif part.body["Type"] == "SubscriptionConfirmation":
            return _handshake("sns_subscription", part.body, "SubscribeURL", "TopicArn", "Token")
        else:
            return _handshake("sns_unsubscription", part.body, "", "TopicArn", "")
    return tuple(events)


def _handshake(
    kind: Literal["sns_subscription", "sns_unsubscription", "aws_destination"],
    body: Mapping[str, Any],
    *keys: str,
) -> Handshake:
    url, arn, token = (value if isinstance(value := body.get(key), str) else "" for key in keys)
    return Handshake(kind, url=url, arn=arn, token=token)


def _unwrapped(part: Part, context: Context) -> list[Event]:
    """Return the events inside a notification's Message, whose id is the notification's."""
    identity = event_id(part.body.get("MessageId"), "sns") or part.fallback_id
    message = part.body.get("Message")
    try:
        raw = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else b"null"
        inner, bad = parsed(raw)
    except NotJsonError as error:
        return [refused("json", f"the Message is not JSON: {error}", part.original, "Notification", identity)]
    if not isinstance(inner, dict):
        told = f"the Message is {described(inner)}: send one lifecycle event as JSON text"
        return [refused("shape", told, part.original, "Notification", identity)]
    errors = (*part.errors, *(one.error() for one in bad))
    return [_event(part._replace(fallback_id=identity, errors=errors), inner, context)]


def _event(part: Part, body: dict[str, Any], context: Context) -> Event:
    original, identity, request = part.original, part.fallback_id, part.request
    kind = next((body[key] for key in KINDS if body.get(key) is not None), None)
    name = truncate(kind) if isinstance(kind, str) else ""
    presence = PRESENCES.get(kind.lower()) if isinstance(kind, str) else None
    if isinstance(kind, str) and kind.lower() in IGNORED:
        return Event(identity, Decoded(), name, original)
    if presence is None:
        told = f"the event is {described(kind)}: this shape knows {' and '.join(PRESENCES)} as eventType"
        return refused("event", told, original, name, identity)
    errors = list(part.errors)
    key = next((key for key in DEVICE_KEYS if body.get(key) is not None), DEVICE_KEYS[0])
    device = named(body.get(key), errors, key)
    if isinstance(device, str):
        return refused("device_id", device, original, name, identity)
    return Event(identity, _decoded(body, presence, device, request, context, errors), name, original)


def _decoded(
    body: dict[str, Any],
    presence: Presence,
    device: DeviceKey,
    request: Request,
    context: Context,
    errors: list[FieldError],
) -> Decoded:
    version = body.get("versionNumber")
    sequence = aws_sequence(version, presence)
    if sequence is None and version is not None:
        told = f"is {described(version)}, not a count: the time orders it"
        errors.append(bad_field("versionNumber", told, version))
    metadata = facts_of.metadata(body.get("attributes"), errors, "attributes")
    return observed(
        request, context, device, errors,
        presence=presence, cloud=cloud_time(body, ("eventTime", "timestamp"), errors), sequence=sequence,
        facts=Facts(metadata=metadata) if metadata else None,
    )  # fmt: skip
