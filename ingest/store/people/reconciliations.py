"""Reconciliations of an integration, newest first: their counts, errors and state."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

Connection = Any


class Run(NamedTuple):
    """One reconciliation."""

    id: UUID
    trigger: str
    status: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None
    listed: int
    created: int
    changed: int
    missing: int
    conflicts: int
    detail: str
    errors: list[str]

    @property
    def cursor(self) -> tuple[datetime, UUID]:
        """Where a page that ends here goes on."""
        return self.started_at, self.id


async def runs(
    connection: Connection,
    organization: UUID | None,
    integration_id: UUID,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[Run]:
    """Return reconciliations, newest first; none on a database that keeps none."""
    if not await connection.fetchval("select pg_catalog.to_regclass('rollcall.reconcile_runs') is not null"):
        return []
    found = await connection.fetch(
        """select r.id, r.trigger, r.status, r.dry_run, r.started_at, r.finished_at, r.listed, r.created, r.changed,
            r.missing, r.conflicts, r.detail, r.errors::text as errors
        from rollcall.reconcile_runs r
        join public.device_integrations i on i.id = r.integration_id and ($1::uuid is null or i.organization_id = $1)
        where r.integration_id = $2 and ($3::timestamptz is null or (r.started_at, r.id) < ($3, $4::uuid))
        order by r.started_at desc, r.id desc limit $5""",
        organization,
        integration_id,
        *(after or (None, None)),
        limit,
    )
    return [Run(**{**row, "errors": [str(error) for error in orjson.loads(row["errors"])]}) for row in found]
