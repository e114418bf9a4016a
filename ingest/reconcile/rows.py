"""The integrations whose provider can list its devices, and how long ago each was reconciled."""

from typing import NamedTuple
from uuid import UUID

import asyncpg

from ingest.store.config.integrations import API_KEY, IntegrationRow, IntegrationRows
from ingest.store.errors import acquired
from ingest.store.queries import queries

LISTING_TYPES = ("golioth", "aws_iot", "azure_iot")
"""A broker keeps no list of its own."""


class LastRun(NamedTuple):
    """An integration that can list its devices, and its last run.

    `age_s` is how long ago that began, None where there was none; `unfinished` that it has not ended; `session_lost`
    that since then a broker of the organization has lost the session of one of our clients.
    """

    integration_id: UUID
    name: str
    age_s: float | None
    unfinished: bool
    session_lost: bool


class Listing(NamedTuple):
    """The same with its row."""

    row: IntegrationRow
    last: LastRun


class Listings:
    """Reads them. Methods raise DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._integrations = IntegrationRows(pool, timeout_s=timeout_s)

    async def active(self) -> list[LastRun]:
        """Return all active ones, without their rows: this is asked every few seconds."""
        return await self._last_runs(None)

    async def one(self, integration_id: UUID) -> Listing | None:
        """Return one, whatever its status; None where there is none that can list."""
        row = await self._integrations.one(integration_id, active=False)
        last = next(iter(await self._last_runs(integration_id)), None)
        return None if row is None or last is None else Listing(row, last)

    async def replace_api_key(self, integration_id: UUID, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands."""
        await self._integrations.replace_secret(integration_id, API_KEY, found, encrypted)

    async def _last_runs(self, integration_id: UUID | None) -> list[LastRun]:
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["reconcile_ages"], LISTING_TYPES, integration_id)
        return [LastRun(*row.values()) for row in rows]
