"""Questions of commands to the database, each in one transaction, and their answers as tables or JSON."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from ingest.cli.output import Row, print_rows
from ingest.settings import load_settings
from ingest.store.people.session import session

Connection = Any
T = TypeVar("T")


def ask(database_url: str | None, question: Callable[[Connection], Awaitable[T]]) -> T:
    """Return the answer of `question`, a function of ingest/store/people/ or several in one transaction.

    Raises: Misconfigured, DatabaseAway, Refused.
    """
    url = load_settings(database_url=database_url).database_url

    async def answer() -> T:
        async with session(url) as connection, connection.transaction():
            return await question(connection)

    return asyncio.run(answer())


def listing(
    database_url: str | None,
    question: Callable[[Connection], Awaitable[Sequence[Any]]],
    columns: Sequence[str],
    fields: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print the rows that `question` returns: their `columns` as a table, or their `fields` as JSON."""
    print_rows(dicts(ask(database_url, question), fields), columns, as_json=as_json)


def dicts(rows: Iterable[Any], fields: Sequence[str]) -> list[Row]:
    """Return the named fields of each row."""
    return [{field: getattr(row, field) for field in fields} for row in rows]
