"""Errors of HTTP answers as problem details. Source: RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "an error of Rollcall's own: its log says more"


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is an error. `detail` is for people and never holds a secret."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self) -> Response:
        """Return the answer."""
        title = HTTPStatus(self.status).phrase
        body = {"title": title, "status": self.status, "detail": self.detail, **self.members}
        return Response(orjson.dumps(body), self.status, self.headers, MEDIA_TYPE)


async def answered(_: Request, error: Exception) -> Response:
    """Return what Starlette raises by itself (404, 405, ...) as a problem, and what nobody expected as 500."""
    status = getattr(error, "status_code", 500)
    detail = getattr(error, "detail", None) or UNEXPECTED
    return Problem(status, str(detail), getattr(error, "headers", None)).response()
