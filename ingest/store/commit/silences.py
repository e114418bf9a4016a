"""The database side of the sweep."""

from uuid import UUID

import asyncpg

from handlers.events import Micros
from ingest.store.errors import acquired
from ingest.store.queries import queries

CHUNK = 2_000
FIRST = UUID(int=0)


class Silences:
    """Marks devices that have been silent, chunk by chunk. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def sweep(self, offline_after: Micros, now: Micros, chunk: int = CHUNK) -> int:
        """Go once through all rows and return how many became silent. Each chunk is its own transaction.

        An integration that is not heard freshly at `now` is skipped.
        """
        after, silenced = FIRST, 0
        while True:
            async with acquired(self._pool, self._timeout_s) as connection:
                row = await connection.fetchrow(queries()["sweep"], after, chunk, offline_after, now)
            silenced += row["silenced"] or 0
            if not row["scanned"] or row["scanned"] < chunk:
                return silenced
            after = row["last_id"]
