"""Exception handlers of the API: every error becomes a problem answer (ingest/problems.py), none shows an internal."""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from handlers.text import truncate
from ingest.errors import (
    DatabaseAway,
    ProviderAway,
    ProviderRefused,
    Refused,
    RollcallError,
    Unavailable,
)
from ingest.problems import Problem, problem_response

MAX_ERRORS = 20

log = logging.getLogger(__name__)


class Wrong(BaseModel):
    """One field that could not be used: where it stands, and why."""

    field: str
    error: str


class ProblemDetails(BaseModel):
    """The body of every answer of 400 and above."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Wrong] = []


def not_found(what: str) -> Problem:
    """Return the problem of an id that is not there, or is another organization's: nobody can tell which."""
    return Problem(404, f"there is no such {what}")


def problem_of(error: RollcallError) -> Problem:
    """Return the problem that an error of Rollcall's is to the caller; 409 where no other status fits."""
    match error:
        case Refused(sqlstate="23505"):
            return Problem(409, "another row has this already")
        case Refused(sqlstate=sqlstate):
            return Problem(422, f"the database refuses a value (SQLSTATE {sqlstate})")
        case DatabaseAway():
            log.warning("the API cannot use the database: %s", error)
            return Problem(503, "the database does not answer: try again", {"retry-after": "5"})
        case ProviderAway():
            after = str(max(1, int(error.retry_after_s or 5)))
            return Problem(503, str(error), {"retry-after": after})
        case Unavailable():
            return Problem(503, str(error), {"retry-after": "5"})
        case ProviderRefused():
            return Problem(502, str(error))
    return Problem(409, str(error))


def handle_errors(app: FastAPI) -> None:
    """Make every error of `app` a problem answer."""

    async def problem(request: Request, error: Any) -> Response:
        return error.response()  # type: ignore[no-any-return]

    async def ours(request: Request, error: Any) -> Response:
        return problem_of(error).response()

    async def invalid(request: Request, error: Any) -> Response:
        return _invalid(error).response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RollcallError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, problem_response)
    app.add_exception_handler(Exception, problem_response)


def _invalid(error: RequestValidationError) -> Problem:
    """Name each field and what was expected, never what was given: it may be a secret."""
    errors = [
        {"field": truncate(".".join(map(str, wrong["loc"])), 100), "error": truncate(str(wrong["msg"]), 200)}
        for wrong in error.errors()[:MAX_ERRORS]
    ]
    return Problem(422, "the request cannot be used: see errors", errors=errors)
