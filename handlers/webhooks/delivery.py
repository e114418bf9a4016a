"""The content of a webhook: its request, its events, or a handshake that wants an answer."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from handlers import tolerant
from handlers.events import Decoded, FieldError, Liveness, Micros
from handlers.text import dead, described
from handlers.words import WORDS, Words

MAX_EVENTS = 1000
"""Events in one body."""
MAX_EVENT_ID = 200
"""Characters of an event's id; a longer one is replaced by its digest."""

RECEIPT = Liveness()
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments: 0.2 us less."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},]', re.DOTALL)


class Request(NamedTuple):
    """One POST. `headers` have lower-case names; `received_at` is strictly increasing per process."""

    body: bytes
    headers: Mapping[str, str]
    received_at: Micros

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty where none was given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Event(NamedTuple):
    """One event of a request.

    `id` recognises its redelivery for a day, `name` is what its sender calls it, `original` its own bytes.
    """

    id: str | None
    decoded: Decoded
    name: str
    original: bytes


class Handshake(NamedTuple):
    """A request that is no event. `azure_validation`: answer {"validationResponse": code}.

    `sns_subscription` and `aws_destination` (of a rule's HTTP action): visit `url` by ingest/webhooks/sns.py and answer
    200; `arn` is the topic or the destination. `sns_unsubscription`: answer 200, no more.
    """

    kind: Literal["azure_validation", "sns_subscription", "sns_unsubscription", "aws_destination"]
    code: str = ""
    url: str = ""
    arn: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What decoding needs to know about an integration. `shape` is a name of handlers/webhooks/shapes.py, or `auto`.

    `field_paths` and `words` as in the dialect `plain`.
    """

    integration_id: UUID
    liveness: Liveness = RECEIPT
    field_paths: Mapping[str, str] = field(default_factory=dict)
    shape: str = "auto"
    words: Words = field(default_factory=lambda: WORDS)


class Part(NamedTuple):
    """One JSON object of a body, with its own bytes and what recognises it where it has no id of its own.

    `request` is the one that held it, with a received_at that grows by 1 us an object: of two without times the later
    one counts. At most `room` messages fit into it, so that a request holds MAX_EVENTS in all.
    """

    body: dict[str, Any]
    original: bytes
    fallback_id: str | None
    request: Request
    room: int = MAX_EVENTS
    errors: tuple[FieldError, ...] = ()
    """What had to be left out of a body that is no JSON."""


def each(request: Request, read: Callable[[Part], Event]) -> tuple[Event, ...]:
    """Return the events of a body whose objects are events."""
    return tuple(read(part) if isinstance(part, Part) else part for part in parts(request))


def parts(request: Request) -> Iterator[Part | Event]:
    """Yield the objects of a JSON body, which is one or an array of them; what is none is yielded as a dead event.

    An empty array, which CloudEvents allows, holds no event.
    """
    raw = request.body
    try:
        body, bad = parsed(raw)
    except tolerant.NotJsonError as error:
        yield refused("json", f"the body is not JSON: {error}", raw)
        return
    webhook_id = request.headers.get("webhook-id")
    if isinstance(body, dict):
        own_errors = tuple([one.error() for one in bad]) if bad else ()
        yield _new(Part, (body, raw, event_id(webhook_id), request, MAX_EVENTS, own_errors))
    elif not isinstance(body, list):
        yield refused(
            "shape", f"the body is {described(body)}: send a JSON object or an array of objects", raw
        )
    elif len(body) > MAX_EVENTS:
        told = f"the body is an array of {len(body)} events: send at most {MAX_EVENTS} in one request"
        yield refused("shape", told, raw)
    else:
        errors = _by_entry(bad) if bad else {}
        originals = _originals(body, raw) if not bad else list(_cut(raw))
        for index, (entry, original) in enumerate(zip(body, originals, strict=True)):
            if isinstance(entry, dict):
                own = _new(Request, (raw, request.headers, request.received_at + index))
                identity = event_id(webhook_id, str(index)) if webhook_id else None
                own_errors = errors.get(index, ())
                yield _new(Part, (entry, original, identity, own, MAX_EVENTS // len(body), own_errors))
            else:
                yield refused("shape", f"the event is {described(entry)}: send an object", original)


def parsed(raw: bytes) -> tuple[Any, list[tolerant.Bad]]:
    """Return the JSON value of a body, and what of it had to be left out. Raises: tolerant.NotJsonError."""
    try:
        return orjson.loads(raw), []
    except orjson.JSONDecodeError:
        return tolerant.loads(raw)


def _by_entry(bad: Iterable[tolerant.Bad]) -> dict[object, tuple[FieldError, ...]]:
    """Return what had to be left out of each entry of an array, by its index."""
    errors: dict[object, tuple[FieldError, ...]] = {}
    for one in bad:
        index = one.path[0]
        errors[index] = (*errors.get(index, ()), one.error(skip=1))
    return errors


def refused(kind: str, error: str, original: bytes, name: str = "", identity: str | None = None) -> Event:
    """Return the event of what means nothing."""
    return Event(identity, dead(kind, error), name, original)


def event_id(*names: object) -> str | None:
    """Return one short storable text out of an event's id and its source, or None without an id.

    Whatever is too long, or not printable ASCII, becomes its digest: an id is only compared.
    """
    if None in names or not all(isinstance(name, str) and name for name in names):
        return None
    joined = " ".join(str(name) for name in names)
    if len(joined) <= MAX_EVENT_ID and joined.isascii() and joined.isprintable():
        return joined
    return blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _originals(entries: list[Any], raw: bytes) -> list[bytes]:
    """Return each entry's bytes; where one is nested too deeply to be written again, cut from the body."""
    try:
        return [orjson.dumps(entry) for entry in entries]
    except orjson.JSONEncodeError:
        return list(_cut(raw))


def _cut(raw: bytes) -> Iterator[bytes]:
    """Yield the bytes of the entries of a valid JSON array, at least one of them."""
    depth = 0
    start = 0
    for token in _TOKEN.finditer(raw):
        sign = token.group()
        if sign in (b"[", b"{"):
            depth += 1
            start = token.end() if depth == 1 else start
        elif sign in (b"]", b"}"):
            depth -= 1
        if (depth == 1 and sign == b",") or (depth == 0 and sign == b"]"):
            yield raw[start : token.start()].strip()
            start = token.end()
