"""Devices as the API reads them. Every query names the organization."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from ingest.store.people.session import Row, rows

Connection = Any

_DEVICE = """d.id, d.integration_id, d.external_device_id, d.name, d.device_type, d.model, d.serial_number,
    coalesce(d.status::text, 'offline') as status, d.last_seen, d.last_seen_online, d.last_seen_offline,
    d.battery_level, d.signal_strength, d.firmware_version, d.hardware_ids, d.cohort_id, d.golioth_status,
    d.location_id, d.department_id, coalesce(d.metadata, '{}')::text as metadata, d.created_at, d.updated_at"""
PROVIDER_KEY = """coalesce(d.external_device_id, (select n.external_device_id from rollcall.device_identity n
    where n.device_id = d.id and n.integration_id = d.integration_id order by n.created_at limit 1))"""
"""The id by which its provider knows the device `d`."""
SORTS = {
    "name": ("d.name", "text"),
    "lastSeen": ("coalesce(d.last_seen, '-infinity')", "timestamptz"),
    "createdAt": ("coalesce(d.created_at, '-infinity')", "timestamptz"),
}
"""What a list can be sorted by -> the expression and its type."""


class Filter(NamedTuple):
    """Which devices; None leaves a field open. `text` is found in name, serial number, external id and hardware ids."""

    status: str | None = None
    firmware: str | None = None
    cohort: str | None = None
    integration: UUID | None = None
    text: str | None = None


class Place(NamedTuple):
    """Where a page ended: the value that is sorted by, as Postgres writes it, and the id."""

    key: str
    id: UUID


async def devices(
    connection: Connection,
    organization_id: UUID,
    wanted: Filter,
    *,
    sort: str,
    descending: bool,
    after: Place | None,
    limit: int,
) -> list[Row]:
    """Return at most `limit` devices after a place, in order of a key of SORTS; `key` is the sorted value as text."""
    expression, kind = SORTS[sort]
    comparison, direction = ("<", "desc") if descending else (">", "asc")
    found = await rows(
        connection,
        f"""select {_DEVICE}, ({expression})::text as key from public.devices d
        where d.organization_id = $1 and ($2::text is null or coalesce(d.status::text, 'offline') = $2)
            and ($3::text is null or d.firmware_version = $3) and ($4::text is null or d.cohort_id = $4)
            and ($5::uuid is null or d.integration_id = $5)
            and ($6::text is null or pg_catalog.strpos(pg_catalog.lower(pg_catalog.concat_ws(' ', d.name,
                d.serial_number, d.external_device_id,
                pg_catalog.array_to_string(d.hardware_ids, ' '))), pg_catalog.lower($6)) > 0)
            and ($7::text is null or ({expression}, d.id) {comparison} ($7::text::{kind}, $8::uuid))
        order by {expression} {direction}, d.id {direction} limit $9""",  # noqa: S608 - out of SORTS
        organization_id,
        *wanted,
        *(after or (None, None)),
        limit,
    )
    return [_device(row) for row in found]


async def device(connection: Connection, organization_id: UUID, device_id: UUID) -> Row | None:
    """Return one device with its clocks (microseconds), its integration, and the id that its provider knows it by."""
    found = await rows(
        connection,
        f"""select {_DEVICE}, d.organization_id, i.integration_type, i.name as integration_name,
            s.online_at,
            greatest(s.offline_at, s.stream_offline_at, s.silent_at) as offline_at,
            s.silent_at, s.battery_at, s.signal_at, s.alive_from,
            {PROVIDER_KEY} as provider_key
        from public.devices d
        left join public.device_integrations i on i.id = d.integration_id and i.organization_id = d.organization_id
        left join rollcall.device_state s on s.device_id = d.id
        where d.organization_id = $1 and d.id = $2""",  # noqa: S608
        organization_id,
        device_id,
    )
    return _device(found[0]) if found else None


async def components(connection: Connection, organization_id: UUID, device_id: UUID) -> list[Row]:
    """Return the newest version of each component."""
    return await rows(
        connection,
        """select f.component, f.version, f.at, rollcall.timestamp_of(f.at) as seen_at from rollcall.device_firmware f
        join public.devices d on d.id = f.device_id and d.organization_id = $1
        where f.device_id = $2 order by f.component""",
        organization_id,
        device_id,
    )


async def readings(connection: Connection, organization_id: UUID, device_id: UUID) -> list[Row]:
    """Return the newest of each reading."""
    return await rows(
        connection,
        """select r.name, r.value, r.unit, rollcall.timestamp_of(r.at) as at from rollcall.device_readings r
        join public.devices d on d.id = r.device_id and d.organization_id = $1
        where r.device_id = $2 order by r.name""",
        organization_id,
        device_id,
    )


async def field_errors(connection: Connection, organization_id: UUID, device_id: UUID) -> list[Row]:
    """Return the newest error of each field, newest first."""
    return await rows(
        connection,
        """select f.field, f.value, f.reason, rollcall.timestamp_of(f.at) as at from rollcall.field_errors f
        join public.devices d on d.id = f.device_id and d.organization_id = $1
        where f.device_id = $2 order by f.at desc, f.field""",
        organization_id,
        device_id,
    )


async def timeline(
    connection: Connection,
    organization_id: UUID,
    device_id: UUID,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Row]:
    """Return transitions, newest first; `key` tells those of one moment apart. Retracted ones say so."""
    found = await rows(
        connection,
        """select * from (
            select e.at, e.kind, e.component, e.source, e.recorded_at, e.retracted_at, e.detail::text as detail,
                pg_catalog.concat_ws('/', e.kind, e.component, e.source) as key
            from rollcall.device_events e join public.devices d on d.id = e.subject and d.organization_id = $1
            where e.subject = $2) as t
        where $3::timestamptz is null or at < $3 or (at = $3 and key collate "C" > $4)
        order by at desc, key collate "C" limit $5""",
        organization_id,
        device_id,
        *(after or (None, None)),
        limit,
    )
    return [{**row, "detail": orjson.loads(row["detail"])} for row in found]


async def firmware_history(
    connection: Connection,
    organization_id: UUID,
    device_id: UUID,
    component: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return installs, newest first."""
    return await rows(
        connection,
        """select h.id, h.firmware_version as version, coalesce(h.component_type, 'main') as component,
            coalesce(h.installed_at, h.created_at, 'epoch') as installed_at, coalesce(h.source, 'unknown') as source
        from public.device_firmware_history h join public.devices d on d.id = h.device_id and d.organization_id = $1
        where h.device_id = $2 and ($3::text is null or coalesce(h.component_type, 'main') = $3)
            and ($4::timestamptz is null
                or (coalesce(h.installed_at, h.created_at, 'epoch'), h.id) < ($4, $5::uuid))
        order by coalesce(h.installed_at, h.created_at, 'epoch') desc, h.id desc limit $6""",
        organization_id,
        device_id,
        component,
        *(after or (None, None)),
        limit,
    )


def _device(row: Row) -> Row:
    return {**row, "metadata": orjson.loads(row["metadata"])}
