"""What routes share in asking and answering: names in camelCase, cursors, texts, ETags."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from ingest.api.error_handlers import ProblemDetails
from ingest.api.limits import NO_STORE
from ingest.problems import Problem

MAX_LIMIT = 200
MAX_CURSOR = 1_000
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": ProblemDetails,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    }
    for status in (400, 401, 403, 404, 409, 410, 413, 422, 429, 502, 503)
}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL character, which Postgres cannot store")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_storable)]
Flag = Annotated[bool, Field(strict=True)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Entries of a page at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CURSOR, description="`nextCursor` of the page before; everything else as it was."),
]


class Shape(BaseModel):
    """An answer or a request: camelCase outside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Asked(BaseModel):
    """The body of a request: a key that is not known is an error, not a wish that is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


def json_response(request: Request, shape: BaseModel, *, status: int = 200) -> Response:
    """Return `shape` as JSON with an ETag, or 304 where the caller has it already."""
    body = shape.model_dump_json(by_alias=True).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.method == "GET" and etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": etag})
    return Response(body, status, {"etag": etag}, "application/json")


def secret_response(shape: BaseModel) -> Response:
    """Return an answer that nobody on the way may keep."""
    body = shape.model_dump_json(by_alias=True)
    return Response(body, 200, {"cache-control": NO_STORE, "pragma": "no-cache"}, "application/json")


def cursor_of(*place: object) -> str:
    """Return an opaque cursor."""
    text = orjson.dumps([one.isoformat() if isinstance(one, datetime) else str(one) for one in place])
    return base64.urlsafe_b64encode(text).decode()


def place_of(cursor: str | None, *kinds: type) -> Any:
    """Return what `cursor_of` was given, None without a cursor. Raises: Problem 422."""
    if cursor is None:
        return None
    try:
        texts = orjson.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(texts, list) or len(texts) != len(kinds):
            raise ValueError("another number of parts")
        return tuple(_part(text, kind) for text, kind in zip(texts, kinds, strict=True))
    except (ValueError, TypeError, binascii.Error):
        raise Problem(422, "the cursor is none of this list: leave it out to begin anew") from None


def _part(text: Any, kind: type) -> Any:
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("not text")
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment
    return UUID(text) if kind is UUID else text


def page_of(found: Sequence[Any], limit: int) -> tuple[Sequence[Any], Any | None]:
    """Split what was found with `limit + 1` into the page, and its last entry where more follow."""
    page = found[:limit]
    return page, page[-1] if len(found) > limit else None


def json_error(value: Any, limit: int) -> str | None:
    """Say why jsonb cannot keep a JSON value in `limit` bytes, or return None."""
    try:
        form = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        return "holds what JSON cannot store: a lone surrogate, a number of more than 64 bits, or too many levels"
    if len(form) > limit:
        return f"has {len(form)} bytes as JSON, at most {limit} are kept"
    has_nul = b"\\u0000" in form.replace(b"\\\\", b"")
    return "contains a NUL character, which Postgres cannot store" if has_nul else None
