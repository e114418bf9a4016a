"""Errors as people and programs get them: problem details. Source: RFC 9457."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from handlers.text import shown
from ingest.errors import (
    DatabaseAway,
    ProviderAway,
    ProviderRefused,
    Refused,
    RollcallError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20

log = logging.getLogger(__name__)


class Wrong(BaseModel):
    """One field that could not be used: where it stands, and why."""

    field: str
    error: str


class ProblemDetails(BaseModel):
    """What every answer of 400 and above holds."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Wrong] = []


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer that is not what was asked for. `detail` is for people and holds no secret."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[Wrong] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors or []


def not_found(what: str) -> Problem:
    """Return the problem of an id that is not there, or is another organization's: nobody can tell which."""
    return Problem(404, f"there is no such {what}")


def answer(problem: Problem) -> Response:
    """Return a problem as a response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": shown(problem.detail, 500),
        "errors": [one.model_dump() for one in problem.errors],
    }
    return Response(orjson.dumps(body), problem.status, problem.headers, MEDIA_TYPE)


def meaning(error: RollcallError) -> Problem:
    """Return what an error of Rollcall's means to the one who asked: if nothing else, that it cannot be done now."""
    match error:
        case Refused(sqlstate="23505"):
            return Problem(409, "another row has this already")
        case Refused(sqlstate=sqlstate):
            return Problem(422, f"the database refuses a value (SQLSTATE {sqlstate})")
        case DatabaseAway():
            log.warning("the API cannot use the database: %s", error)
            return Problem(503, "the database does not answer: try again", headers={"retry-after": "5"})
        case ProviderAway():
            after = str(max(1, int(error.retry_after_s or 5)))
            return Problem(503, str(error), headers={"retry-after": after})
        case Unavailable():
            return Problem(503, str(error), headers={"retry-after": "5"})
        case ProviderRefused():
            return Problem(502, str(error))
    return Problem(409, str(error))


def handle(app: FastAPI) -> None:
    """Make every error of `app` a problem answer."""

    async def problem(request: Request, error: Any) -> Response:
        return answer(error)

    async def ours(request: Request, error: Any) -> Response:
        return answer(meaning(error))

    async def invalid(request: Request, error: Any) -> Response:
        return answer(_invalid(error))

    async def other(request: Request, error: Any) -> Response:
        return answer(Problem(error.status_code, str(error.detail), headers=error.headers))

    async def unknown(request: Request, error: Any) -> Response:
        return answer(Problem(500, "something went wrong here; the log says what"))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RollcallError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(Exception, unknown)


def _invalid(error: RequestValidationError) -> Problem:
    """Name each field and what was expected, never what was given: it may be a secret."""
    wrong = [
        Wrong(field=shown(".".join(map(str, one["loc"])), 100), error=shown(str(one["msg"]), 200))
        for one in error.errors()[:MAX_ERRORS]
    ]
    return Problem(422, "the request cannot be used: see errors", errors=wrong)
