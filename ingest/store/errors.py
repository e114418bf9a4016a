"""Database errors by meaning: refused data, another writer, an outage, or a fault not attributed yet.

Classes 22 and 23 are about the data. What is plainly the connection or the server's state is an outage. Everything
else may be the fault of one row: the committer attributes it by trying (ingest/pipeline/culprits.py); to everybody
else it is an outage.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg

from ingest.errors import DatabaseAway, Refused, Unattributed
from ingest.store.database_url import EXPECTED
from ingest.store.transaction import SingleConnectionPool

RETRIED_AT_ONCE: Final = frozenset({"40001", "40P01"})
OUTAGE_CLASSES: Final = frozenset({"08", "40", "53", "57", "58", "XX"})
OUTAGES: Final = frozenset({"25006", "25P03", "25P04"})
"""A read-only database, and sessions that the server ends because they were idle or too long in a transaction."""
ROW_LOCKED: Final = "55P03"
STATEMENT_TIMEOUT: Final = "57014"
POSTPONED: Final = frozenset({ROW_LOCKED, STATEMENT_TIMEOUT})
"""Faults that pass by themselves: somebody holds the row, or the statement is too slow now."""

DEVICES_GONE: Final = "RC001"
"""Raised by `rollcall.undone_if_any`; the ids are in its detail."""


class Contended(DatabaseAway):
    """Another writer was in the way: try again at once, with jitter."""


def message_of(error: BaseException) -> str:
    """Return what the driver or the network said, without Postgres' DETAIL and HINT: they quote rows."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    return str(error) or type(error).__name__


def unusable(error: ValueError) -> str:
    """Return what is wrong with a database URL that the driver refuses, without what may be its password."""
    # the driver's own words are about its parameters; those of others repeat what they could not read
    is_own = isinstance(error, asyncpg.exceptions.ClientConfigurationError)
    return f"the database URL cannot be used: {error}" if is_own else EXPECTED


def devices_gone(error: BaseException | None) -> list[UUID]:
    """Return the ids of the devices that were found gone where that is what `error` says, else none."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate == DEVICES_GONE:
        return [UUID(one) for one in (error.detail or "").split(",")]
    return []


FAULTS: Final = (Refused, Unattributed)
"""Raised where a statement failed that would perhaps succeed without one of its rows."""


def translated(error: BaseException) -> Refused | DatabaseAway:
    """Return what `error`, raised by asyncpg or the network under it, means to the committer."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or "XX000"
        said = message_of(error)
        if sqlstate in RETRIED_AT_ONCE:
            return Contended(f"{sqlstate}: {said}")
        if sqlstate != STATEMENT_TIMEOUT and (sqlstate in OUTAGES or sqlstate[:2] in OUTAGE_CLASSES):
            return DatabaseAway(f"{sqlstate}: {said}")
        return Refused(sqlstate, said) if sqlstate[:2] in ("22", "23") else Unattributed(sqlstate, said)
    return DatabaseAway(f"{type(error).__name__}: {error}")


DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    asyncio.TimeoutError,
)
"""What a call to the database may raise that `translated` understands."""


@contextlib.asynccontextmanager
async def acquired(pool: asyncpg.Pool | SingleConnectionPool, timeout_s: float) -> AsyncIterator[Any]:
    """Take a connection of the pool; what goes wrong with it is raised as what it means.

    What goes wrong before there is one is an outage, whatever its SQLSTATE: a changed password is no message's fault.

    Raises: Refused, DatabaseAway (Contended).
    """
    entered = False
    try:
        async with pool.acquire(timeout=timeout_s) as connection:
            entered = True
            yield connection
    except DATABASE_ERRORS as error:
        if not entered:
            raise DatabaseAway(str(translated(error))) from error
        raise translated(error) from error


@contextlib.asynccontextmanager
async def timeouts_as_faults() -> AsyncIterator[None]:
    """Raise a statement without an answer within its time as Postgres' own limit would be: a row may be at fault.

    Raises: Unattributed.
    """
    try:
        yield
    except TimeoutError as error:
        raise Unattributed(STATEMENT_TIMEOUT, "no answer within the time limit of a statement") from error
