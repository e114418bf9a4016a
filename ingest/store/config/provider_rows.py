"""The rows of device_integrations as the API's providers are made of them, of any type."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from ingest.store.config.integrations import settings_object
from ingest.store.errors import acquired

_ONE = """
select n.id, n.name, n.integration_type, n.project_id, n.base_url, n.api_key_encrypted, n.settings,
    a.address as operator_address
from public.device_integrations n left join rollcall.operator_addresses a on a.integration_id = n.id
where n.id = $1 and n.status = 'active'"""


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """An active integration as it is stored; neither key nor settings are in the repr."""

    id: UUID
    name: str
    integration_type: str
    project_id: str | None
    base_url: str | None
    api_key: str | None = field(repr=False)
    settings: dict[str, Any] = field(repr=False)
    operator_address: str | None


class StoredProviders:
    """Reads the rows. Raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def one(self, integration_id: UUID) -> StoredProvider | None:
        """Return one, or None where there is no active one."""
        async with acquired(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(_ONE, integration_id, timeout=self._timeout_s)
        if row is None:
            return None
        return StoredProvider(
            row["id"], row["name"], row["integration_type"], row["project_id"], row["base_url"],
            row["api_key_encrypted"] or None, settings_object(row["settings"]), row["operator_address"],
        )  # fmt: skip
