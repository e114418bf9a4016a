"""Lists by pages: the query parameters of a page, and the answer with its entries and `nextCursor`."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

import orjson
from fastapi import Depends, Query, Request, Response

from ingest.api.auth import Caller
from ingest.api.dependencies import Api
from ingest.api.shapes import Shape, json_response
from ingest.problems import Problem

Connection = Any
MAX_LIMIT = 200
MAX_CURSOR = 1_000


class PageQuery(NamedTuple):
    """The page of a list that is asked for."""

    cursor: str | None
    limit: int


def _page_query(
    cursor: Annotated[
        str | None,
        Query(
            max_length=MAX_CURSOR, description="`nextCursor` of the page before; everything else as it was."
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Entries of a page at most.")] = 50,
) -> PageQuery:
    return PageQuery(cursor, limit)


Page = Annotated[PageQuery, Depends(_page_query)]


class Listed(Protocol):
    """An entry of a list, as a row type of ingest/store/people/."""

    @property
    def cursor(self) -> tuple[object, ...]:
        """Where a page that ends here goes on."""


class ListQuery(Protocol):
    """A function of ingest/store/people/ that returns at most `limit` rows after a cursor."""

    def __call__(
        self, connection: Connection, organization: UUID, *, after: Any, limit: int
    ) -> Awaitable[Sequence[Listed]]:
        """Return the rows."""


async def paged(
    api: Api,
    caller: Caller,
    request: Request,
    page: PageQuery,
    shape: type[Shape],
    kinds: tuple[type, ...],
    query: ListQuery,
    *,
    sort: str | None = None,
    total: Callable[[Connection, UUID], Awaitable[int]] | None = None,
) -> Response:
    """Answer one page of a list, read in one transaction of the caller's organization.

    The values of a cursor are of `kinds`, and of one `sort` where the list has several. The rows become the first
    field of `shape`, `total` its field of that name. Raises: Problem 422 for a cursor of another list.
    """
    after = _cursor_values(page.cursor, kinds if sort is None else (str, *kinds))
    if after is not None and sort is not None:
        of, *values = after
        if of != sort:
            raise Problem(422, f"the cursor is of a list sorted by {of[:20]}")
        after = tuple(values)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        rows = await query(connection, caller.organization_id, after=after, limit=page.limit + 1)
        count = None if total is None else await total(connection, caller.organization_id)
    items = rows[: page.limit]
    prefix = () if sort is None else (sort,)
    following = _cursor((*prefix, *items[-1].cursor)) if len(rows) > page.limit else None
    name = next(iter(shape.model_fields))
    members = {name: items, "total": count, "next_cursor": following}
    return json_response(request, shape.model_validate(members))


def _cursor(values: tuple[object, ...]) -> str:
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(orjson.dumps(texts)).decode()


def _cursor_values(cursor: str | None, kinds: tuple[type, ...]) -> tuple[Any, ...] | None:
    if cursor is None:
        return None
    try:
        texts = orjson.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(texts, list) or len(texts) != len(kinds):
            raise ValueError("another number of values")
        return tuple(_cursor_value(text, kind) for text, kind in zip(texts, kinds, strict=True))
    except (ValueError, TypeError, binascii.Error):
        raise Problem(422, "the cursor is none of this list: leave it out to begin anew") from None


def _cursor_value(text: Any, kind: type) -> Any:
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("not text")
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment
    return UUID(text) if kind is UUID else text
