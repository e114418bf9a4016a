"""Dead letters as replay reads them."""

from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from handlers.events import Publish
from ingest.store.config.integrations import IntegrationRow
from ingest.store.errors import DATABASE_ERRORS, translated
from ingest.store.queries import queries

WEBHOOK = "webhook"
"""What stands for the MQTT session in a letter that came by a webhook."""


class Letter(NamedTuple):
    """One dead letter with the integration that it came by."""

    id: UUID
    integration: IntegrationRow
    publish: Publish
    truncated: bool
    kind: str
    headers: dict[str, str] | None
    """Of a webhook's event; None for a publish."""


async def letters(pool: asyncpg.Pool, ids: list[UUID]) -> list[Letter]:
    """Return these, oldest first; an id that is not there is left out.

    Raises: DatabaseAway.
    """
    try:
        rows = await pool.fetch(queries()["dead_letters_to_replay"], ids, timeout=30)
    except DATABASE_ERRORS as error:
        raise translated(error) from error
    return [_letter(row) for row in rows]


def _letter(row: Any) -> Letter:
    settings = orjson.loads(row["settings"] or "{}")
    size = len(row["payload"])
    publish = Publish(
        row["topic"],
        row["payload"],
        row["qos"],
        row["retain"],
        False,
        0,
        row["received_at"],
        size,
        row["content_type"],
    )
    integration = IntegrationRow(row["integration_id"], row["name"], settings)
    headers = orjson.loads(row["headers"]) if row["session"] == WEBHOOK else None
    return Letter(row["id"], integration, publish, row["truncated"], row["kind"], headers)
