"""HTTP errors as problem details: one exception, one JSON form for the API, the webhooks and the service's own routes.

Source: RFC 9457.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from handlers.text import truncate

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "an error of Rollcall's own: its log says more"
MAX_DETAIL = 500


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An HTTP answer that is an error. `detail` is for people and never holds a secret.

    `errors` lists the fields that could not be used; `members` are extension members of this one problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        errors: list[dict[str, str]] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors or []
        self.members = members

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": truncate(self.detail, MAX_DETAIL),
            "errors": self.errors,
            **self.members,
        }
        return Response(orjson.dumps(body), self.status, self.headers, MEDIA_TYPE)


async def problem_response(_: Request, error: Exception) -> Response:
    """Return an HTTPException (404, 405, ...) as a problem, any other exception as a 500 without its text."""
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail), error.headers).response()
    return Problem(500, UNEXPECTED).response()
