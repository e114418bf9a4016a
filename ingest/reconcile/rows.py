"""The rows of device_integrations whose provider can list its devices, and how long ago each was reconciled."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from ingest.store.config.integrations import settings_of
from ingest.store.errors import acquired
from ingest.store.queries import queries

LISTING_TYPES = ("golioth", "aws_iot", "azure_iot")
"""A broker keeps no list of its own."""


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """An integration as it is stored, neither key nor settings in the repr, and its last run.

    `age_s` is how long ago that began, None where there was none; `unfinished` that it has not ended; `session_lost`
    that since then a broker of the organization has lost the session of one of our clients.
    """

    id: UUID
    name: str
    integration_type: str
    project_id: str | None
    base_url: str | None
    api_key: str | None = field(repr=False)
    settings: dict[str, Any] = field(repr=False)
    age_s: float | None
    unfinished: bool
    session_lost: bool
    operator_address: str | None


class ProviderRows:
    """Reads the rows. Methods raise DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def active(self) -> list[ProviderRow]:
        """Return all active ones."""
        return await self._read(None)

    async def one(self, integration_id: UUID) -> ProviderRow | None:
        """Return one, whatever its status; None where there is none that can list."""
        return next(iter(await self._read(integration_id)), None)

    async def replace_api_key(self, integration_id: UUID, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands."""
        async with acquired(self._pool, self._timeout_s) as connection:
            await connection.execute(queries()["replace_api_key"], integration_id, found, encrypted)

    async def _read(self, integration_id: UUID | None) -> list[ProviderRow]:
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["reconcile_integrations"], LISTING_TYPES, integration_id)
        return [_row(row) for row in rows]


def _row(row: asyncpg.Record) -> ProviderRow:
    stored = row["settings"]
    settings = settings_of(stored) if isinstance(stored, str) else stored
    return ProviderRow(
        row["id"], row["name"], row["integration_type"], row["project_id"], row["base_url"],
        row["api_key_encrypted"] or None, settings if isinstance(settings, dict) else {},
        row["age_s"], row["unfinished"], row["session_lost"], row["operator_address"],
    )  # fmt: skip
