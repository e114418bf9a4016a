"""What a database error means: the data is refused, try again at once, or the database is away.

Only SQLSTATE classes 22 and 23 say something about the data. 40001, 40P01 and 55P03 are other writers' doing. All the
rest is an outage, whatever it is: acknowledging traffic away because of a revoked grant would be a loss.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg

from ingest.errors import DatabaseAway, Refused
from ingest.store.within import Within

RETRIED_AT_ONCE: Final = frozenset({"40001", "40P01", "55P03"})


DEVICES_GONE: Final = "RC001"
"""Raised by `rollcall.undone_if_any`; the ids are in its detail."""


class Contended(DatabaseAway):
    """Another writer was in the way: try again at once, with jitter."""


def devices_gone(error: BaseException) -> list[UUID]:
    """Return the ids of the devices that were found gone where that is what `error` says, else none."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate == DEVICES_GONE:
        return [UUID(one) for one in (error.detail or "").split(",")]
    return []


def translated(error: BaseException) -> Refused | DatabaseAway:
    """Return what `error`, raised by asyncpg or the network under it, means to the committer."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or "XX000"
        if sqlstate[:2] in ("22", "23"):
            return Refused(sqlstate, str(error))
        if sqlstate in RETRIED_AT_ONCE:
            return Contended(f"{sqlstate}: {error}")
        return DatabaseAway(f"{sqlstate}: {error}")
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
async def acquired(pool: asyncpg.Pool | Within, timeout_s: float) -> AsyncIterator[Any]:
    """Take a connection of the pool; what goes wrong with it is raised as what it means.

    Raises: Refused, DatabaseAway (Contended).
    """
    try:
        async with pool.acquire(timeout=timeout_s) as connection:
            yield connection
    except DATABASE_ERRORS as error:
        raise translated(error) from error
