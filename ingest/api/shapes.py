"""Shapes of requests and answers: camelCase names, storable texts, JSON with an ETag."""

import hashlib
from typing import Annotated, Any

import orjson
from fastapi import Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from ingest.api.error_handlers import ProblemDetails
from ingest.api.limits import NO_STORE

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


class Shape(BaseModel):
    """An answer or a request: camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", from_attributes=True
    )


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


def json_error(value: Any, limit: int) -> str | None:
    """Return why jsonb cannot keep a JSON value in `limit` bytes, None where it can."""
    try:
        form = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        return "holds what JSON cannot store: a lone surrogate, a number of more than 64 bits, or too many levels"
    if len(form) > limit:
        return f"has {len(form)} bytes as JSON, at most {limit} are kept"
    has_nul = b"\\u0000" in form.replace(b"\\\\", b"")
    return "contains a NUL character, which Postgres cannot store" if has_nul else None
