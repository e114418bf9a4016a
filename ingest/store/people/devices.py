"""Devices with their rows and clocks: of one organization, or of all where `organization` is None (the operator)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.events import Micros
from ingest.errors import Misconfigured

Connection = Any

_DEVICE = """d.id, (select o.slug from public.organizations o where o.id = d.organization_id) as organization,
    d.integration_id, d.external_device_id, d.name, d.device_type, d.model, d.serial_number,
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
"""Sort keys of a list -> the expression and its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A row of public.devices. `organization` is a slug; `key` is the value that a list is sorted by, as text."""

    id: UUID
    organization: str | None
    integration_id: UUID | None
    external_device_id: str | None
    name: str
    device_type: str
    model: str | None
    serial_number: str | None
    status: str
    last_seen: datetime | None
    last_seen_online: datetime | None
    last_seen_offline: datetime | None
    battery_level: int | None
    signal_strength: int | None
    firmware_version: str | None
    hardware_ids: list[str] | None
    cohort_id: str | None
    golioth_status: str | None
    location_id: UUID | None
    department_id: UUID | None
    metadata: Any
    created_at: datetime | None
    updated_at: datetime | None
    key: str = ""

    @property
    def cursor(self) -> tuple[str, UUID]:
        """Where a page that ends here goes on."""
        return self.key, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWithClocks(Device):
    """A device with its clocks, its integration, and the id that its provider knows it by."""

    integration_type: str | None
    integration_name: str | None
    online_at: Micros | None
    offline_at: Micros | None
    silent_at: Micros | None
    battery_at: Micros | None
    signal_at: Micros | None
    alive_from: Micros | None
    provider_key: str | None


class Filter(NamedTuple):
    """Conditions on devices; None leaves a field open. `text` is searched in names, serial numbers and ids."""

    status: str | None = None
    firmware: str | None = None
    cohort: str | None = None
    integration: UUID | None = None
    text: str | None = None


class Clocks(NamedTuple):
    """The clocks of a device as times. `offline_at` is of an event, `silent_at` of silence."""

    device_id: UUID
    online_at: datetime | None
    offline_at: datetime | None
    alive_from: datetime | None
    silent_at: datetime | None
    battery_at: datetime | None
    signal_at: datetime | None


async def devices(
    connection: Connection,
    organization: UUID | None,
    wanted: Filter,
    *,
    sort: str = "name",
    descending: bool = False,
    after: tuple[str, UUID] | None = None,
    limit: int,
) -> list[Device]:
    """Return at most `limit` devices after a cursor, in order of a key of SORTS."""
    expression, kind = SORTS[sort]
    comparison, direction = ("<", "desc") if descending else (">", "asc")
    found = await connection.fetch(
        f"""select {_DEVICE}, ({expression})::text as key from public.devices d
        where ($1::uuid is null or d.organization_id = $1)
            and ($2::text is null or coalesce(d.status::text, 'offline') = $2)
            and ($3::text is null or d.firmware_version = $3) and ($4::text is null or d.cohort_id = $4)
            and ($5::uuid is null or d.integration_id = $5)
            and ($6::text is null or pg_catalog.strpos(pg_catalog.lower(pg_catalog.concat_ws(' ', d.name,
                d.serial_number, d.external_device_id,
                pg_catalog.array_to_string(d.hardware_ids, ' '))), pg_catalog.lower($6)) > 0)
            and ($7::text is null or ({expression}, d.id) {comparison} ($7::text::{kind}, $8::uuid))
        order by {expression} {direction}, d.id {direction} limit $9""",  # noqa: S608 - out of SORTS
        organization,
        *wanted,
        *(after or (None, None)),
        limit,
    )
    return [Device(**_decoded(row)) for row in found]


async def device(
    connection: Connection, organization: UUID | None, device_id: UUID
) -> DeviceWithClocks | None:
    """Return one device."""
    row = await connection.fetchrow(
        f"""select {_DEVICE}, i.integration_type, i.name as integration_name,
            s.online_at,
            greatest(s.offline_at, s.stream_offline_at, s.silent_at) as offline_at,
            s.silent_at, s.battery_at, s.signal_at, s.alive_from,
            {PROVIDER_KEY} as provider_key
        from public.devices d
        left join public.device_integrations i on i.id = d.integration_id and i.organization_id = d.organization_id
        left join rollcall.device_state s on s.device_id = d.id
        where ($1::uuid is null or d.organization_id = $1) and d.id = $2""",  # noqa: S608
        organization,
        device_id,
    )
    return DeviceWithClocks(**_decoded(row)) if row else None


async def find(connection: Connection, organization: UUID | None, reference: str) -> UUID:
    """Return the id of the one device with this id, external id, serial number or name.

    Raises: Misconfigured when there is none, or more than one.
    """
    found = await connection.fetch(
        """select d.id from public.devices d
        where $2 in (d.id::text, d.external_device_id, d.serial_number, d.name)
            and ($1::uuid is null or d.organization_id = $1) limit 20""",
        organization,
        reference,
    )
    device_id: UUID = only(found, f"device {reference!r}", "its id, or --organization")["id"]
    return device_id


async def whole_row(connection: Connection, device_id: UUID) -> dict[str, Any]:
    """Return every column of a row, those of the platform included, with the slug of its organization.

    For operators alone: the API's role may not read columns that Rollcall does not know.
    """
    row = await connection.fetchrow(
        """select d.*, d.status::text as status, o.slug as organization
        from public.devices d join public.organizations o on o.id = d.organization_id where d.id = $1""",
        device_id,
    )
    return dict(row)


async def clocks(connection: Connection, device_id: UUID) -> Clocks | None:
    """Return the clocks behind a row as times, for operators; None where nothing was heard of the device."""
    row = await connection.fetchrow(
        """select device_id, online_at, offline_at, alive_from, silent_at, battery_at, signal_at
        from rollcall.device_clocks where device_id = $1""",
        device_id,
    )
    return Clocks(**row) if row else None


def only(found: Sequence[Any], what: str, how: str) -> Any:
    """Return the one row. Raises: Misconfigured where there is none or are several, which `how` tells apart."""
    if not found:
        raise Misconfigured(f"there is no {what}")
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} rows match the {what}: name one by {how}")
    return found[0]


def _decoded(row: Any) -> dict[str, Any]:
    return {**row, "metadata": orjson.loads(row["metadata"])}
