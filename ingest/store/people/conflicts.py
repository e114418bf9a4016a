"""Conflicts between rows and providers: listed, and resolved so that the next reconciliation knows it."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.conflicts import METADATA
from handlers.events import Micros
from ingest.store.people.fleet import PROVIDER_KEY
from ingest.store.people.session import Row, rows
from ingest.store.queries import queries

Connection = Any
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
    organization_id: UUID,
    *,
    device_id: UUID | None,
    resolved: bool | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return conflicts, newest first."""
    found = await rows(
        connection,
        f"""select {_COLUMNS} from public.sync_conflicts c
        join public.devices d on d.id = c.device_id and d.organization_id = $1
        where ($2::uuid is null or c.device_id = $2) and ($3::boolean is null or (c.resolved_at is not null) = $3)
            and ($4::timestamptz is null or (coalesce(c.conflict_detected_at, 'epoch'), c.id) < ($4, $5::uuid))
        order by coalesce(c.conflict_detected_at, 'epoch') desc, c.id desc limit $6""",  # noqa: S608
        organization_id,
        device_id,
        resolved,
        *(after or (None, None)),
        limit,
    )
    return [_read(row) for row in found]


async def total(
    connection: Connection, organization_id: UUID, *, device_id: UUID | None, resolved: bool | None
) -> int:
    """Count them."""
    return int(
        await connection.fetchval(
            """select pg_catalog.count(*) from public.sync_conflicts c
            join public.devices d on d.id = c.device_id and d.organization_id = $1
            where ($2::uuid is null or c.device_id = $2)
                and ($3::boolean is null or (c.resolved_at is not null) = $3)""",
            organization_id,
            device_id,
            resolved,
        )
    )


async def conflict(connection: Connection, organization_id: UUID, conflict_id: UUID) -> Row | None:
    """Return one conflict, with how its provider knows the device and the newest word of the provider on the field."""
    found = await rows(
        connection,
        f"""select {_COLUMNS}, d.integration_id, i.integration_type, ({_LOCAL})::text as local_now,
            coalesce(k.remote, c.remote_value)::text as remote_now,
            {PROVIDER_KEY} as provider_key
        from public.sync_conflicts c join public.devices d on d.id = c.device_id and d.organization_id = $1
        left join public.device_integrations i on i.id = d.integration_id and i.organization_id = $1
        left join rollcall.device_facts k on k.device_id = c.device_id and k.field = c.field_name
        where c.id = $2""",  # noqa: S608
        organization_id,
        conflict_id,
    )
    if not found:
        return None
    row = _read(found[0])
    return {**row, "local_now": _loaded(row["local_now"]), "remote_now": _loaded(row["remote_now"])}


async def resolve(
    connection: Connection,
    organization_id: UUID,
    found: Row,
    resolution: Resolution,
    who: tuple[str, UUID | None, UUID | None],
) -> datetime | None:
    """Write the row, what both sides agree on, and the resolution; returns when, or None where somebody was faster.

    `found` is of `conflict`. The device is locked first, as the apply does, so that neither waits for the other twice.
    """
    device_id, field = found["device_id"], found["field_name"]
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
        found["id"],
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
    said = (
        {"metadata": {field.removeprefix(METADATA): value}} if field.startswith(METADATA) else {field: value}
    )
    form = orjson.dumps(said).decode()
    await connection.execute(queries()["take_facts"], [device_id], [form])


async def _write_fact(connection: Connection, device_id: UUID, field: str, resolution: Resolution) -> None:
    """Note what both sides agree on: from now on only a further change of either is one.

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


def _read(row: Row) -> Row:
    return {
        **row,
        "local_value": _loaded(row["local_value"]),
        "remote_value": _loaded(row["remote_value"]),
    }


def _loaded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
