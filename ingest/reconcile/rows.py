"""The integrations whose provider can list its devices, and how long ago each was reconciled."""

from typing import NamedTuple
from uuid import UUID

import asyncpg

from ingest.store.config.integrations import API_KEY, IntegrationRow, IntegrationRows
from ingest.store.errors import acquired
from ingest.store.queries import queries

LISTING_TYPES = ("golioth", "aws_iot", "azure_iot")
"""A broker keeps no list of its own."""


class Listing(NamedTuple):
    """An integration that can list its devices, and its last run.

    `age_s` is how long ago that began, None where there was none; `unfinished` that it has not ended; `session_lost`
    that since then a broker of the organization has lost the session of one of our clients.
    """

    row: IntegrationRow
    age_s: float | None
    unfinished: bool
    session_lost: bool


class Listings:
    """Reads them. Methods raise DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._integrations = IntegrationRows(pool, timeout_s=timeout_s)

    async def active(self) -> list[Listing]:
        """Return all active ones."""
        rows = await self._integrations.active()
        return await self._with_ages([row for row in rows if row.integration_type in LISTING_TYPES])

    async def one(self, integration_id: UUID) -> Listing | None:
        """Return one, whatever its status; None where there is none that can list."""
        row = await self._integrations.one(integration_id, active=False)
        if row is None or row.integration_type not in LISTING_TYPES:
            return None
        return next(iter(await self._with_ages([row])), None)

    async def replace_api_key(self, integration_id: UUID, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands."""
        await self._integrations.replace_secret(integration_id, API_KEY, found, encrypted)

    async def _with_ages(self, rows: list[IntegrationRow]) -> list[Listing]:
        if not rows:
            return []
        async with acquired(self._pool, self._timeout_s) as connection:
            ages = await connection.fetch(queries()["reconcile_ages"], [row.id for row in rows])
        by_id = {row.id: row for row in rows}
        return [
            Listing(by_id[age["id"]], age["age_s"], age["unfinished"], age["session_lost"]) for age in ages
        ]
