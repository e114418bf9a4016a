"""Retention: delete by age and count, in small deletes that hold nobody up."""

import asyncpg

from ingest.store.errors import acquired
from ingest.store.queries import queries

CHUNK = 2_000
EVENTS_KEPT_DAYS = 400
DEAD_LETTERS_KEPT = 10_000
"""Per integration and kind of error."""
DEAD_LETTERS_KEPT_DAYS = 90
PARKED_KEPT_DAYS = 30
FIELD_ERRORS_KEPT_DAYS = 30
WEBHOOK_EVENTS_KEPT_DAYS = 1
API_REQUESTS_KEPT_DAYS = 1
AUDIT_KEPT_DAYS = 730
RUNS_KEPT = 100
"""Reconciliations, per integration."""


class Retention:
    """Deletes what is past its bound. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def expire(self, chunk: int = CHUNK) -> None:
        """Delete until nothing is past its bound; each chunk is its own transaction."""
        await self._drained("expire_events", EVENTS_KEPT_DAYS, chunk)
        await self._drained("expire_parked", PARKED_KEPT_DAYS, chunk)
        await self._drained("expire_field_errors", FIELD_ERRORS_KEPT_DAYS, chunk)
        await self._drained("expire_webhook_events", WEBHOOK_EVENTS_KEPT_DAYS, chunk)
        await self._drained("expire_api_requests", API_REQUESTS_KEPT_DAYS, chunk)
        await self._drained("expire_audit", AUDIT_KEPT_DAYS, chunk)
        await self._drained("expire_runs", RUNS_KEPT, chunk)
        await self._drained("expire_staging", chunk)
        await self._evicted(chunk)

    async def _drained(self, name: str, *bounds: int) -> None:
        """Run a delete until it deletes fewer rows than the last of its bounds."""
        chunk = bounds[-1]
        while True:
            async with acquired(self._pool, self._timeout_s) as connection:
                status = await connection.execute(queries()[name], *bounds, timeout=self._timeout_s)
            if int(status.rpartition(" ")[2]) < chunk:
                return

    async def _evicted(self, chunk: int) -> None:
        while True:
            async with acquired(self._pool, self._timeout_s) as connection:
                evicted = await connection.fetchval(
                    queries()["evict_dead_letters"], DEAD_LETTERS_KEPT, DEAD_LETTERS_KEPT_DAYS, chunk
                )
            if (evicted or 0) < chunk:
                return
