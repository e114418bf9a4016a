"""The database side of the outbox."""

import asyncpg

from ingest.store.errors import acquired
from ingest.store.queries import queries

CHUNK = 5_000


class Positions:
    """Numbers rows of the timeline that have no position yet. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def number(self, chunk: int = CHUNK) -> None:
        """Number until fewer than `chunk` rows were left; each chunk is its own transaction."""
        numbered = chunk
        while numbered >= chunk:
            async with acquired(self._pool, self._timeout_s) as connection:
                numbered = await connection.fetchval(
                    queries()["number_events"], chunk, timeout=self._timeout_s
                )
