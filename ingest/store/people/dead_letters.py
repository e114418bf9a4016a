"""Dead letters: listed and shown to people, deleted, and read for replay."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from handlers.events import Publish
from ingest.errors import Misconfigured
from ingest.store.config.integrations import IntegrationRow
from ingest.store.errors import DATABASE_ERRORS, translated
from ingest.store.queries import queries

Connection = Any
WEBHOOK = "webhook"
"""Stands for the MQTT session in a letter that came by a webhook."""


class DeadLetter(NamedTuple):
    """A dead letter without its payload. `integration` is a name, `bytes` the length of the payload."""

    id: UUID
    integration_id: UUID
    integration: str
    kind: str
    error: str
    topic: str
    qos: int
    recorded_at: datetime
    received_at: datetime
    bytes: int
    truncated: bool

    @property
    def cursor(self) -> tuple[datetime, UUID]:
        """Where a page that ends here goes on."""
        return self.recorded_at, self.id


class WholeDeadLetter(NamedTuple):
    """A dead letter as it is stored. `received_at` is in microseconds, `received` the same moment."""

    id: UUID
    integration_id: UUID
    session: str
    topic: str
    qos: int
    retain: bool
    content_type: str | None
    headers: dict[str, str]
    received_at: int
    kind: str
    error: str
    payload: bytes
    truncated: bool
    recorded_at: datetime
    received: datetime
    integration: str


class Letter(NamedTuple):
    """A dead letter to replay, with the integration that it came by."""

    id: UUID
    integration: IntegrationRow
    publish: Publish
    truncated: bool
    kind: str
    headers: dict[str, str] | None
    """Of a webhook's event; None for a publish."""


async def dead_letters(
    connection: Connection,
    organization: UUID | None,
    *,
    integration_id: UUID | None,
    kind: str | None,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[DeadLetter]:
    """Return dead letters without their payloads, newest first."""
    found = await connection.fetch(
        """select l.id, l.integration_id, i.name as integration, l.kind, l.error, l.topic, l.qos, l.recorded_at,
            rollcall.timestamp_of(l.received_at) as received_at, pg_catalog.octet_length(l.payload) as bytes,
            l.truncated
        from rollcall.dead_letters l
        join public.device_integrations i on i.id = l.integration_id and ($1::uuid is null or i.organization_id = $1)
        where ($2::uuid is null or l.integration_id = $2) and ($3::text is null or l.kind = $3)
            and ($4::timestamptz is null or (l.recorded_at, l.id) < ($4, $5::uuid))
        order by l.recorded_at desc, l.id desc limit $6""",
        organization,
        integration_id,
        kind,
        *(after or (None, None)),
        limit,
    )
    return [DeadLetter(**row) for row in found]


async def dead_letter(connection: Connection, organization: UUID | None, identifier: UUID) -> WholeDeadLetter:
    """Return one dead letter whole. Raises: Misconfigured when there is none."""
    row = await connection.fetchrow(
        """select l.id, l.integration_id, l.session, l.topic, l.qos, l.retain, l.content_type,
            l.headers::text as headers, l.received_at, l.kind, l.error, l.payload, l.truncated, l.recorded_at,
            rollcall.timestamp_of(l.received_at) as received, i.name as integration
        from rollcall.dead_letters l
        join public.device_integrations i on i.id = l.integration_id and ($1::uuid is null or i.organization_id = $1)
        where l.id = $2""",
        organization,
        identifier,
    )
    if row is None:
        raise Misconfigured(f"there is no dead letter {identifier}")
    return WholeDeadLetter(**{**row, "headers": orjson.loads(row["headers"])})


async def existing(connection: Connection, organization: UUID | None, ids: list[UUID]) -> list[UUID]:
    """Return those of the ids that are there, and the organization's."""
    found = await connection.fetch(
        """select l.id from rollcall.dead_letters l
        join public.device_integrations i on i.id = l.integration_id and ($1::uuid is null or i.organization_id = $1)
        where l.id = any ($2::uuid[]) order by l.id""",
        organization,
        ids,
    )
    return [row["id"] for row in found]


async def drop(
    connection: Connection,
    organization: UUID | None,
    *,
    ids: list[UUID],
    integration_id: UUID | None,
    kind: str | None,
) -> int:
    """Delete the named dead letters, or with no ids all of an integration or kind. Return how many."""
    done = await connection.execute(
        """delete from rollcall.dead_letters l using public.device_integrations i
        where i.id = l.integration_id and ($1::uuid is null or i.organization_id = $1)
            and (pg_catalog.cardinality($2::uuid[]) = 0 or l.id = any ($2))
            and ($3::uuid is null or l.integration_id = $3) and ($4::text is null or l.kind = $4)""",
        organization,
        ids,
        integration_id,
        kind,
    )
    return int(done.split()[-1])


async def letters(pool: asyncpg.Pool, ids: list[UUID]) -> list[Letter]:
    """Return dead letters to replay, oldest first; an id that is not there is left out.

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
