"""What people's commands ask of the database about devices, dead letters and unknown devices."""

from uuid import UUID

import asyncpg

from ingest.store.people.admin import only
from ingest.store.people.session import Row, rows


async def devices(
    connection: asyncpg.Connection, *, status: str | None, slug: str | None, limit: int
) -> list[Row]:
    """Return devices, by name."""
    return await rows(
        connection,
        """select d.id, d.external_device_id, d.name, o.slug as organization, d.status::text, d.battery_level,
            d.signal_strength, d.firmware_version, d.last_seen, d.last_seen_online, d.last_seen_offline
        from public.devices d join public.organizations o on o.id = d.organization_id
        where ($1::text is null or d.status::text = $1) and ($2::text is null or o.slug = $2)
        order by d.name, d.id limit $3""",
        status,
        slug,
        limit,
    )


async def device(connection: asyncpg.Connection, reference: str, slug: str | None, events: int) -> Row:
    """Return one device by id, external id, serial number or name: its row and what Rollcall knows beside it.

    Raises: Misconfigured when there is none, or more than one.
    """
    found = await rows(
        connection,
        """select d.*, d.status::text as status, o.slug as organization
        from public.devices d join public.organizations o on o.id = d.organization_id
        where ($1 in (d.id::text, d.external_device_id, d.serial_number, d.name))
            and ($2::text is null or o.slug = $2) limit 20""",
        reference,
        slug,
    )
    row = only(found, f"device {reference!r}", "its id, or --organization")
    clocks = await rows(connection, "select * from rollcall.device_clocks where device_id = $1", row["id"])
    firmware = await rows(
        connection,
        """select component, version, rollcall.timestamp_of(at) as at from rollcall.device_firmware
        where device_id = $1 order by component""",
        row["id"],
    )
    timeline = await rows(
        connection,
        """select at, kind, component, source, recorded_at, retracted_at, detail from rollcall.device_events
        where subject = $1 order by at desc, kind limit $2""",
        row["id"],
        events,
    )
    field_errors = await rows(
        connection,
        """select f.field, f.value, f.reason, rollcall.timestamp_of(f.at) as at from rollcall.field_errors f
        where f.device_id = $1 order by f.at desc, f.field""",
        row["id"],
    )
    details = {"clocks": clocks[0] if clocks else {}, "firmware": firmware, "field_errors": field_errors}
    return {**row, **details, "timeline": timeline}


async def dead_letters(
    connection: asyncpg.Connection, *, integration: UUID | None, kind: str | None, limit: int
) -> list[Row]:
    """Return dead letters without their payloads, newest first."""
    return await rows(
        connection,
        """select l.id, n.name as integration, l.kind, l.error, l.topic, l.qos, l.recorded_at,
            pg_catalog.octet_length(l.payload) as bytes, l.truncated
        from rollcall.dead_letters l join public.device_integrations n on n.id = l.integration_id
        where ($1::uuid is null or l.integration_id = $1) and ($2::text is null or l.kind = $2)
        order by l.recorded_at desc, l.id limit $3""",
        integration,
        kind,
        limit,
    )


async def dead_letter(connection: asyncpg.Connection, identifier: UUID) -> Row:
    """Return one dead letter whole. Raises: Misconfigured when there is none."""
    found = await rows(
        connection,
        """select l.*, rollcall.timestamp_of(l.received_at) as received, n.name as integration
        from rollcall.dead_letters l join public.device_integrations n on n.id = l.integration_id where l.id = $1""",
        identifier,
    )
    return only(found, f"dead letter {identifier}", "its id")


async def drop_dead_letters(
    connection: asyncpg.Connection, *, ids: list[UUID], integration: UUID | None, kind: str | None
) -> int:
    """Delete the named dead letters, or with no ids all of an integration or kind. Return how many."""
    done = await connection.execute(
        """delete from rollcall.dead_letters l where (pg_catalog.cardinality($1::uuid[]) = 0 or l.id = any ($1))
            and ($2::uuid is null or l.integration_id = $2) and ($3::text is null or l.kind = $3)""",
        ids,
        integration,
        kind,
    )
    return int(done.split()[-1])


async def unknown(connection: asyncpg.Connection, *, integration: UUID | None, limit: int) -> list[Row]:
    """Return parked device ids, the most talkative first."""
    return await rows(
        connection,
        """select p.external_device_id, n.name as integration, p.messages, p.first_at, p.last_at, p.evidence
        from rollcall.parked_devices p join public.device_integrations n on n.id = p.integration_id
        where $1::uuid is null or p.integration_id = $1
        order by p.messages desc, p.external_device_id limit $2""",
        integration,
        limit,
    )


async def drop_unknown(connection: asyncpg.Connection, *, integration: UUID | None, ids: list[str]) -> int:
    """Forget parked ids, or with no ids all of an integration. Return how many."""
    done = await connection.execute(
        """delete from rollcall.parked_devices p
        where ($1::uuid is null or p.integration_id = $1)
            and (pg_catalog.cardinality($2::text[]) = 0 or p.external_device_id = any ($2))""",
        integration,
        ids,
    )
    return int(done.split()[-1])
