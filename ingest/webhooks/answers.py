"""Answers to webhooks: a result for each event, and the handshake of CloudEvents."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from handlers.webhooks.delivery import Event
from ingest.problems import Problem
from ingest.webhooks.segment import Result

ALLOWED_RATE = "*"
JSON = "application/json"
_ORIGIN = re.compile(r"[A-Za-z0-9.:-]{1,253}")


def allowed(headers: Mapping[str, str]) -> Response:
    """Answer the handshake of CloudEvents' abuse protection. Source: CloudEvents, HTTP 1.1 Web Hooks, section 4."""
    origin = headers.get("webhook-request-origin", "")
    if not _ORIGIN.fullmatch(origin):
        raise Problem(400, "OPTIONS needs the header WebHook-Request-Origin with the name of the sender")
    granted = {
        "webhook-allowed-origin": origin,
        "webhook-allowed-rate": ALLOWED_RATE,
        "allow": "POST, OPTIONS",
    }
    return Response(status_code=200, headers=granted)


def answer(events: Sequence[Event], results: Sequence[Result]) -> Response:
    """Return the answer: a result for each event; 400 when none of them could be understood."""
    told = [_result(event, result) for event, result in zip(events, results, strict=True)]
    misunderstood = [event.decoded.dead for event in events]
    if told and all(misunderstood) and all(result.outcome == "dead" for result in results):
        (first, *_) = (dead.error for dead in misunderstood if dead)
        return Problem(400, f"nothing in the body was understood: {first}", results=told).response()
    return Response(orjson.dumps({"results": told}), media_type=JSON)


def _result(event: Event, result: Result) -> dict[str, Any]:
    told: dict[str, Any] = {"result": result.outcome}
    if event.id is not None:
        told["id"] = event.id
    if event.name:
        told["event"] = event.name
    if result.reason is not None:
        told |= {"kind": result.reason.kind, "error": result.reason.error}
    elif event.decoded.field_errors:
        told["fieldErrors"] = [error._asdict() for error in event.decoded.field_errors]
    return told
