"""Versions, readings, unusable fields, timeline and firmware history of one device.

`organization` None is the operator, who sees every device; another organization's device has no rows here.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.events import Micros

Connection = Any


class ComponentVersion(NamedTuple):
    """The newest version of a component, and when it was seen."""

    component: str
    version: str
    at: Micros
    seen_at: datetime


class Reading(NamedTuple):
    """The newest value of a reading."""

    name: str
    value: float
    unit: str | None
    at: datetime


class UnusedField(NamedTuple):
    """The newest error of a field."""

    field: str
    value: str
    reason: str
    at: datetime


class Transition(NamedTuple):
    """An entry of the timeline; `key` tells apart entries of one moment."""

    at: datetime
    kind: str
    component: str
    source: str
    recorded_at: datetime
    retracted_at: datetime | None
    detail: Any
    key: str

    @property
    def cursor(self) -> tuple[datetime, str]:
        """Where a page that ends here goes on."""
        return self.at, self.key


class Install(NamedTuple):
    """A version on a component, and since when."""

    id: UUID
    version: str
    component: str
    installed_at: datetime
    source: str

    @property
    def cursor(self) -> tuple[datetime, UUID]:
        """Where a page that ends here goes on."""
        return self.installed_at, self.id


async def components(
    connection: Connection, organization: UUID | None, device_id: UUID
) -> list[ComponentVersion]:
    """Return the newest version of each component."""
    found = await connection.fetch(
        """select f.component, f.version, f.at, rollcall.timestamp_of(f.at) as seen_at from rollcall.device_firmware f
        join public.devices d on d.id = f.device_id and ($1::uuid is null or d.organization_id = $1)
        where f.device_id = $2 order by f.component""",
        organization,
        device_id,
    )
    return [ComponentVersion(**row) for row in found]


async def readings(connection: Connection, organization: UUID | None, device_id: UUID) -> list[Reading]:
    """Return the newest of each reading."""
    found = await connection.fetch(
        """select r.name, r.value, r.unit, rollcall.timestamp_of(r.at) as at from rollcall.device_readings r
        join public.devices d on d.id = r.device_id and ($1::uuid is null or d.organization_id = $1)
        where r.device_id = $2 order by r.name""",
        organization,
        device_id,
    )
    return [Reading(**row) for row in found]


async def field_errors(
    connection: Connection, organization: UUID | None, device_id: UUID
) -> list[UnusedField]:
    """Return the newest error of each field, newest first."""
    found = await connection.fetch(
        """select f.field, f.value, f.reason, rollcall.timestamp_of(f.at) as at from rollcall.field_errors f
        join public.devices d on d.id = f.device_id and ($1::uuid is null or d.organization_id = $1)
        where f.device_id = $2 order by f.at desc, f.field""",
        organization,
        device_id,
    )
    return [UnusedField(**row) for row in found]


async def timeline(
    connection: Connection,
    organization: UUID | None,
    device_id: UUID,
    *,
    after: tuple[datetime, str] | None = None,
    limit: int,
) -> list[Transition]:
    """Return transitions, newest first, retracted ones included."""
    found = await connection.fetch(
        """select * from (
            select e.at, e.kind, e.component, e.source, e.recorded_at, e.retracted_at, e.detail::text as detail,
                pg_catalog.concat_ws('/', e.kind, e.component, e.source) as key
            from rollcall.device_events e
            join public.devices d on d.id = e.subject and ($1::uuid is null or d.organization_id = $1)
            where e.subject = $2) as t
        where $3::timestamptz is null or at < $3 or (at = $3 and key collate "C" > $4)
        order by at desc, key collate "C" limit $5""",
        organization,
        device_id,
        *(after or (None, None)),
        limit,
    )
    return [Transition(**{**row, "detail": orjson.loads(row["detail"])}) for row in found]


async def firmware_history(
    connection: Connection,
    organization: UUID | None,
    device_id: UUID,
    component: str | None,
    *,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[Install]:
    """Return installs, newest first."""
    found = await connection.fetch(
        """select h.id, h.firmware_version as version, coalesce(h.component_type, 'main') as component,
            coalesce(h.installed_at, h.created_at, 'epoch') as installed_at, coalesce(h.source, 'unknown') as source
        from public.device_firmware_history h
        join public.devices d on d.id = h.device_id and ($1::uuid is null or d.organization_id = $1)
        where h.device_id = $2 and ($3::text is null or coalesce(h.component_type, 'main') = $3)
            and ($4::timestamptz is null
                or (coalesce(h.installed_at, h.created_at, 'epoch'), h.id) < ($4, $5::uuid))
        order by coalesce(h.installed_at, h.created_at, 'epoch') desc, h.id desc limit $6""",
        organization,
        device_id,
        component,
        *(after or (None, None)),
        limit,
    )
    return [Install(**row) for row in found]
