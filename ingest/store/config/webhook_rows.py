"""The rows of device_integrations that take webhooks."""

from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ingest.store.config.integrations import settings_object
from ingest.store.errors import acquired

COLUMN = "webhook_secret"

_ENABLED = """
select n.id, n.name, n.settings, n.webhook_secret, case when a.integration_id is null
    then pg_catalog.row_number() over (partition by n.organization_id order by n.created_at, n.id) else 0 end as place
from public.device_integrations n left join rollcall.operator_addresses a on a.integration_id = n.id
where n.status = 'active' and n.webhook_enabled order by n.id"""
_REPLACE_SETTING = """
update public.device_integrations set settings = pg_catalog.jsonb_set(settings, $2::text[],
    pg_catalog.to_jsonb($4::text))
where id = $1 and settings #>> $2::text[] = $3"""
_REPLACE_COLUMN = """
update public.device_integrations set webhook_secret = $3 where id = $1 and webhook_secret = $2"""


class WebhookRow(NamedTuple):
    """An active integration of any type that takes webhooks, as it is stored: its repr holds secrets."""

    id: UUID
    name: str
    settings: dict[str, Any]
    secret: str | None
    place: int
    """Which one of its organization's it is, the oldest first; 0 where the operator made it."""


class WebhookRows:
    """Reads the rows, and puts encrypted secrets in the place of clear ones. Methods raise DatabaseAway.

    `names` is given the name of each integration that is read.
    """

    def __init__(self, pool: asyncpg.Pool, names: dict[UUID, str], *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._names = names
        self._timeout_s = timeout_s

    async def enabled(self) -> list[WebhookRow]:
        """Return the active integrations with webhook_enabled."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(_ENABLED, timeout=self._timeout_s)
        self._names.update({row["id"]: row["name"] for row in rows})
        return [
            WebhookRow(r["id"], r["name"], settings_object(r["settings"]), r[COLUMN], r["place"])
            for r in rows
        ]

    async def replace_secret(self, integration_id: UUID, place: str, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands: a setting such as `webhook.secret`, or the column."""
        async with acquired(self._pool, self._timeout_s) as connection:
            if place == COLUMN:
                await connection.execute(_REPLACE_COLUMN, integration_id, found, encrypted)
            else:
                path = place.split(".")
                await connection.execute(_REPLACE_SETTING, integration_id, path, found, encrypted)
