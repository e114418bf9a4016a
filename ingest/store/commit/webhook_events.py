"""The ids of webhook events that were committed in the last day."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

import asyncpg

from ingest.store.errors import acquired
from ingest.store.queries import queries


class WebhookEvents:
    """Asks which ids are known: one query at a time, for all requests that came meanwhile."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._gathered: dict[UUID, tuple[set[str], asyncio.Task[set[str]]]] = {}

    async def known(self, integration_id: UUID, event_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that were committed.

        Raises: DatabaseAway.
        """
        wanted = set(event_ids)
        if integration_id not in self._gathered:
            asked: set[str] = set()
            asking = asyncio.create_task(self._ask(integration_id, asked))
            self._gathered[integration_id] = asked, asking
        asked, asking = self._gathered[integration_id]
        asked |= wanted
        return wanted & await asyncio.shield(asking)

    async def _ask(self, integration_id: UUID, asked: set[str]) -> set[str]:
        async with self._turn:
            del self._gathered[integration_id]
            async with acquired(self._pool, self._timeout_s) as connection:
                rows = await connection.fetch(
                    queries()["known_events"], integration_id, list(asked), timeout=self._timeout_s
                )
        return {row["e"] for row in rows}
