"""Conflicts between rows and providers: listed, and resolved so that the next reconciliation finds none."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.conflicts import METADATA
from handlers.events import Micros
from ingest.store.people.devices import PROVIDER_KEY
from ingest.store.queries import queries

Connection = Any
_JSON = ("local_value", "remote_value", "local_now", "remote_now")
LOCAL = "prefer_local"
"""The word of the column resolution_strategy for a row that stays as it is."""
_COLUMNS = """c.id, c.device_id, c.field_name, c.local_value::text as local_value, c.remote_value::text as remote_value,
    coalesce(c.conflict_detected_at, 'epoch') as detected_at, c.resolution_strategy, c.resolved_at,
    c.resolved_by, c.resolution_notes"""


# rollcall.local_fact takes a whole row, of which the API's role may not see what the platform added
_LOCAL = """case c.field_name
    when 'name' then to_jsonb(case when d.name in (d.external_device_id, d.serial_number) then null
        else d.name end)
    when 'serial_number' then to_jsonb(d.serial_number)
    when 'hardware_ids' then to_jsonb(nullif(d.hardware_ids, '{}'))
    when 'cohort_id' then to_jsonb(d.cohort_id) when 'golioth_status' then to_jsonb(d.golioth_status)
    else d.metadata -> substr(c.field_name, 10) end"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A field that a row and its provider both changed."""

    id: UUID
    device_id: UUID
    field_name: str
    local_value: Any
    remote_value: Any
    detected_at: datetime
    resolution_strategy: str | None
    resolved_at: datetime | None
    resolved_by: UUID | None
    resolution_notes: str | None

    @property
    def cursor(self) -> tuple[datetime, UUID]:
        """Where a page that ends here goes on."""
        return self.detected_at, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictNow(Conflict):
    """A conflict with both sides as they are now, and how the provider knows the device."""

    integration_id: UUID | None
    integration_type: str | None
    provider_key: str | None
    local_now: Any
    remote_now: Any


class Resolution(NamedTuple):
    """How a conflict ends. `value` goes into the row, unless the row wins: then it stays, edited meanwhile or not.

    `remote` is what the provider has from now on: `value` where it was pushed, else what it had.
    `strategy` is a word of the column resolution_strategy.
    """

    strategy: str
    value: Any
    remote: Any
    pushed: bool
    notes: str | None
    at: Micros


async def conflicts(
    connection: Connection,
    organization: UUID | None,
    *,
    device_id: UUID | None,
    resolved: bool | None,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[Conflict]:
    """Return conflicts, newest first; of all organizations where `organization` is None."""
    found = await connection.fetch(
        f"""select {_COLUMNS} from public.sync_conflicts c
        join public.devices d on d.id = c.device_id and ($1::uuid is null or d.organization_id = $1)
        where ($2::uuid is null or c.device_id = $2) and ($3::boolean is null or (c.resolved_at is not null) = $3)
            and ($4::timestamptz is null or (coalesce(c.conflict_detected_at, 'epoch'), c.id) < ($4, $5::uuid))
        order by coalesce(c.conflict_detected_at, 'epoch') desc, c.id desc limit $6""",  # noqa: S608
        organization,
        device_id,
        resolved,
        *(after or (None, None)),
        limit,
    )
    return [Conflict(**_decoded(row)) for row in found]


async def total(
    connection: Connection, organization: UUID | None, *, device_id: UUID | None, resolved: bool | None
) -> int:
    """Count the conflicts that `conflicts` lists over all pages."""
    return int(
        await connection.fetchval(
            """select pg_catalog.count(*) from public.sync_conflicts c
            join public.devices d on d.id = c.device_id and ($1::uuid is null or d.organization_id = $1)
            where ($2::uuid is null or c.device_id = $2)
                and ($3::boolean is null or (c.resolved_at is not null) = $3)""",
            organization,
            device_id,
            resolved,
        )
    )


async def conflict(
    connection: Connection, organization: UUID | None, conflict_id: UUID
) -> ConflictNow | None:
    """Return one conflict with the newest value of either side."""
    row = await connection.fetchrow(
        f"""select {_COLUMNS}, d.integration_id, i.integration_type, ({_LOCAL})::text as local_now,
            coalesce(k.remote, c.remote_value)::text as remote_now,
            {PROVIDER_KEY} as provider_key
        from public.sync_conflicts c
        join public.devices d on d.id = c.device_id and ($1::uuid is null or d.organization_id = $1)
        left join public.device_integrations i on i.id = d.integration_id and i.organization_id = d.organization_id
        left join rollcall.device_facts k on k.device_id = c.device_id and k.field = c.field_name
        where c.id = $2""",  # noqa: S608
        organization,
        conflict_id,
    )
    return ConflictNow(**_decoded(row)) if row else None


async def resolve(
    connection: Connection,
    organization_id: UUID,
    found: Conflict,
    resolution: Resolution,
    who: tuple[str, UUID | None, UUID | None],
) -> datetime | None:
    """Write the row, what both sides agree on, and the resolution; returns when, or None where somebody was faster.

    `found` is of `conflict`. The device is locked first, as the apply does, so that neither waits for the other twice.
    """
    device_id, field = found.device_id, found.field_name
    await connection.execute(
        "select 1 from public.devices where organization_id = $1 and id = $2 for no key update",
        organization_id,
        device_id,
    )
    name, user_id, token_id = who
    resolved_at: datetime | None = await connection.fetchval(
        """update public.sync_conflicts c set resolution_strategy = $3, resolved_at = pg_catalog.clock_timestamp(),
            resolution_notes = $4, resolved_by = rollcall.actor_of('public.sync_conflicts', 'resolved_by', $5, $6)
        from public.devices d where d.id = c.device_id and d.organization_id = $1 and c.id = $2
            and c.resolved_at is null
        returning c.resolved_at""",
        organization_id,
        found.id,
        resolution.strategy,
        resolution.notes,
        user_id,
        token_id,
    )
    if resolved_at is None:
        return None
    if resolution.strategy != LOCAL:
        await _write_row(connection, device_id, field, resolution.value)
    await _write_fact(connection, device_id, field, resolution)
    detail = orjson.dumps({"strategy": resolution.strategy, "by": name}).decode()
    await connection.execute(_NOTE, device_id, field, resolved_at, detail)
    return resolved_at


_NOTE = """insert into rollcall.device_events (subject, kind, component, at, source, detail)
values ($1, 'conflict_resolved', left($2, 100), $3, 'api', $4) on conflict do nothing"""


async def _write_row(connection: Connection, device_id: UUID, field: str, value: Any) -> None:
    values = (
        {"metadata": {field.removeprefix(METADATA): value}} if field.startswith(METADATA) else {field: value}
    )
    form = orjson.dumps(values).decode()
    await connection.execute(queries()["take_facts"], [device_id], [form])


async def _write_fact(connection: Connection, device_id: UUID, field: str, resolution: Resolution) -> None:
    """Record the value that both sides agree on: from now on only a further change of either is a conflict.

    A provider's own later word stays; one that was pushed counts from now on, so that a listing from before does not.
    """
    agreed = orjson.dumps(resolution.remote).decode()
    await connection.execute(
        """insert into rollcall.device_facts as k (device_id, field, remote, remote_at, agreed)
        values ($1, $2, $3::jsonb, $4, $3::jsonb)
        on conflict (device_id, field) do update set agreed = excluded.agreed,
            remote = case when $5 then excluded.remote else k.remote end,
            remote_at = case when $5 then greatest(k.remote_at, excluded.remote_at) else k.remote_at end""",
        device_id,
        field,
        agreed,
        resolution.at,
        resolution.pushed,
    )


def _decoded(row: Any) -> dict[str, Any]:
    """Return a record as a dict, its JSON texts decoded."""
    texts = {name: row[name] for name in _JSON if name in row}
    return {**row, **{name: text and orjson.loads(text) for name, text in texts.items()}}
