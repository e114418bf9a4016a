"""The recorded samples: each a request (headers, body) and what it must become. One file a sample."""

import json
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.events import SECOND, Micros, Observation
from handlers.timestamps import micros
from handlers.webhooks.delivery import MAX_EVENTS, Context, Event, Handshake, Request

FOLDER = Path(__file__).parent / "samples"
NOW = 1_771_175_100 * SECOND  # 2026-02-15T17:05:00Z
INTEGRATION = UUID(int=7)
CONTEXT = Context(INTEGRATION)


class Sample(NamedTuple):
    """A request as it came, and the wanted outcome in the form of `told`."""

    name: str
    shape: str
    request: Request
    wanted: Any


def load(path: Path) -> Sample:
    form = json.loads(path.read_text())
    if "file" in form:
        body = (FOLDER / form["file"]).read_bytes()
    else:
        body = form["text"].encode() if "text" in form else orjson.dumps(form["body"])
    wanted = form["handshake"] if "handshake" in form else form["events"]
    return Sample(path.stem, form["shape"], Request(body, form["headers"], NOW), wanted)


SAMPLES = [load(path) for path in sorted(FOLDER.glob("*.json"))]


def told(outcome: tuple[Event, ...] | Handshake) -> Any:
    """Return an outcome as a sample writes it: without what is empty, times as text."""
    if isinstance(outcome, Handshake):
        return {name: value for name, value in outcome._asdict().items() if value}
    return [_event(event) for event in outcome]


def times(wanted: Any) -> Any:
    """Return a sample's observations with their times as microseconds."""
    if isinstance(wanted, list):
        return [times(one) for one in wanted]
    if isinstance(wanted, dict):
        return {
            key: _at(value) if key in ("at", "seen_at") else times(value) for key, value in wanted.items()
        }
    return wanted


def _at(text: str) -> Micros:
    at = micros(text)
    assert isinstance(at, int)
    return at


def _event(event: Event) -> dict[str, Any]:
    form: dict[str, Any] = {"name": event.name, "id": event.id}
    if event.decoded.dead is not None:
        return {**form, "dead": event.decoded.dead.kind}
    if event.decoded.field_errors:
        form["field_errors"] = [error.field for error in event.decoded.field_errors]
    return {**form, "observations": [_observation(seen) for seen in event.decoded.observations]}


def _observation(seen: Observation) -> dict[str, Any]:
    assert (seen.integration_id, seen.source) == (INTEGRATION, "webhook")
    assert NOW <= seen.received_at < NOW + MAX_EVENTS
    form = {key: _plain(value) for key, value in seen._asdict().items()}
    for name in ("integration_id", "received_at", "source"):
        del form[name]
    return {key: value for key, value in form.items() if value not in (None, False, [])}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict") and type(value).__name__ in ("DeviceKey", "Facts"):
        return {key: _plain(one) for key, one in value._asdict().items() if one not in (None, ())}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
