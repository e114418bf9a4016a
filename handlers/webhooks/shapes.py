"""The shapes of webhooks by name, and how a request shows its own."""

from collections.abc import Callable, Mapping
from typing import Any

from handlers.tolerant import NotJsonError
from handlers.webhooks import (
    aws_lifecycle,
    azure_event_grid,
    cloudevents,
    generic,
    golioth_pipelines,
    golioth_platform,
    golioth_stream,
)
from handlers.webhooks.delivery import Context, Event, Handshake, Request, parsed, refused

AUTO = "auto"
Decoder = Callable[[Request, Context], tuple[Event, ...] | Handshake]

DECODERS: Mapping[str, Decoder] = {
    "golioth_platform": golioth_platform.decode,
    "golioth_pipelines": golioth_pipelines.decode,
    "golioth_stream": golioth_stream.decode,
    "cloudevents": cloudevents.decode,
    "aws_lifecycle": aws_lifecycle.decode,
    "azure_event_grid": azure_event_grid.decode,
    "generic": generic.decode,
}


def checked(shape: object) -> str:
    """Return the setting `webhook.shape`, which is `auto` where nothing is set.

    Raises:
        ValueError: names the setting and the shapes.
    """
    if shape is None:
        return AUTO
    if not isinstance(shape, str) or shape not in (AUTO, *DECODERS):
        raise ValueError(f"webhook.shape: must be {AUTO} or one of {', '.join(DECODERS)}")
    return shape


def decode(request: Request, context: Context) -> tuple[Event, ...] | Handshake:
    """Return the events of a request of the integration's shape, or a handshake; this raises nothing."""
    shape = recognised(request) if context.shape == AUTO else context.shape
    if shape is None:
        why = _why_not_json(request.body)
        told = f"the body is of no known shape{why}: set webhook.shape to one of {', '.join(DECODERS)}"
        return (refused("shape", told, request.body),)
    return DECODERS[shape](request, context)


def _why_not_json(body: bytes) -> str:
    """Return, for inside a sentence, why a body is no JSON; nothing where it is."""
    try:
        parsed(body)
    except NotJsonError as error:
        return f" and not JSON ({error})"
    return ""


def recognised(request: Request) -> str | None:
    """Return the shape of a request, by its headers first, then by the keys of its first object; None for no JSON."""
    return _by_headers(request.headers) or _by_keys(request)


def _by_headers(headers: Mapping[str, str]) -> str | None:
    if "x-amz-sns-message-type" in headers:
        return "aws_lifecycle"
    if headers.get("ce-type", "").startswith(golioth_pipelines.PREFIX):
        return "golioth_pipelines"
    if headers.get("ce-source", "").startswith(golioth_stream.SOURCE):
        return "golioth_stream"
    return "cloudevents" if cloudevents.is_binary(headers) else None


def _by_keys(request: Request) -> str | None:
    try:
        body, _ = parsed(request.body)
    except NotJsonError:
        return None
    if isinstance(body, list):
        body = next((entry for entry in body if isinstance(entry, dict)), None)
    if not isinstance(body, dict):
        return None
    return next((name for name, is_it in _SIGNS if is_it(request, body)), None)


def _is_azure(_: Request, body: Mapping[str, Any]) -> bool:
    kind = azure_event_grid.type_of(body)
    return kind.startswith(azure_event_grid.HUB) or kind == azure_event_grid.VALIDATION


def _is_cloudevents(request: Request, body: Mapping[str, Any]) -> bool:
    return (
        request.content_type in cloudevents.CONTENT_TYPES or {"specversion", "type", "source"} <= body.keys()
    )


def _is_aws(_: Request, body: Mapping[str, Any]) -> bool:
    if aws_lifecycle.is_sns(body) or aws_lifecycle.is_destination(body):
        return True
    kinds = [kind for key in aws_lifecycle.KINDS if isinstance(kind := body.get(key), str)]
    told = any(kind.lower() in (*aws_lifecycle.PRESENCES, *aws_lifecycle.IGNORED) for kind in kinds)
    return told or (bool(kinds) and "principalIdentifier" in body)


def _is_platform(_: Request, body: Mapping[str, Any]) -> bool:
    event = body.get("event")
    return isinstance(event, str) and event.startswith("device.")


def _is_stream(_: Request, body: Mapping[str, Any]) -> bool:
    return {"data", "device_id", "project_id", "timestamp"} <= body.keys()


_SIGNS: tuple[tuple[str, Callable[[Request, Mapping[str, Any]], bool]], ...] = (
    ("azure_event_grid", _is_azure),
    ("cloudevents", _is_cloudevents),
    ("aws_lifecycle", _is_aws),
    ("golioth_platform", _is_platform),
    ("golioth_stream", _is_stream),
    ("generic", lambda _, body: True),
)
