"""What people's commands ask of the database: integrations, devices, dead letters, unknown devices."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg

from ingest.errors import Misconfigured
from ingest.store.session import Row, rows


async def organization(connection: asyncpg.Connection, slug: str) -> UUID:
    """Return the organization with this slug, creating it when it is missing."""
    await connection.execute(
        "insert into public.organizations (name, slug) values ($1, $1) on conflict (slug) do nothing", slug
    )
    found: UUID = await connection.fetchval("select id from public.organizations where slug = $1", slug)
    return found


async def integration_id(
    connection: asyncpg.Connection, organization_id: UUID, name: str, kind: str = "mqtt"
) -> UUID:
    """Return the id of the integration of this type and name, or a new one where there is none."""
    found: UUID | None = await connection.fetchval(
        """select id from public.device_integrations
        where organization_id = $1 and integration_type = $3 and name = $2""",
        organization_id,
        name,
        kind,
    )
    return found or uuid4()


async def save_integration(
    connection: asyncpg.Connection,
    identifier: UUID,
    organization_id: UUID,
    name: str,
    settings: dict[str, Any],
    *,
    replace: bool,
    kind: str = "mqtt",
    takes_webhooks: bool = False,
) -> None:
    """Insert an active integration; with `replace`, overwrite the settings of one that is there.

    Raises: Misconfigured when it is there and `replace` is False.
    """
    done = await connection.execute(
        """insert into public.device_integrations as t
            (id, organization_id, integration_type, name, settings, status, webhook_enabled)
        values ($1, $2, $6, $3, $4, 'active', $7)
        on conflict (id) do update set settings = excluded.settings, status = 'active', updated_at = now(),
            webhook_enabled = excluded.webhook_enabled
        where $5 and (t.settings, t.status, coalesce(t.webhook_enabled, false))
            is distinct from (excluded.settings, excluded.status, excluded.webhook_enabled)""",
        identifier,
        organization_id,
        name,
        settings,
        replace,
        kind,
        takes_webhooks,
    )
    if done.endswith(" 0") and not replace:
        raise Misconfigured(f"the integration {name!r} is there already: pass --replace to change it")


async def save_provider(
    connection: asyncpg.Connection,
    identifier: UUID,
    project_id: str | None,
    base_url: str | None,
    encrypted_key: str,
) -> None:
    """Write what only an integration with a provider has."""
    await connection.execute(
        """update public.device_integrations set project_id = $2, base_url = $3, api_key_encrypted = $4,
            updated_at = now() where id = $1""",
        identifier,
        project_id,
        base_url,
        encrypted_key,
    )


async def integrations(connection: asyncpg.Connection) -> list[Row]:
    """Return every integration, without secrets."""
    return await rows(
        connection,
        """select n.id, o.slug as organization, n.name, n.integration_type as type, n.status,
            (n.settings - 'password') #- '{webhook,secret}' #- '{webhook,previous_secret}' as settings,
            (select count(*) from public.devices d where d.integration_id = n.id) as devices
        from public.device_integrations n join public.organizations o on o.id = n.organization_id
        order by o.slug, n.name, n.id""",
    )


async def integration(connection: asyncpg.Connection, name: str, slug: str | None) -> Row:
    """Return the one integration with this name or id, with its settings as stored.

    Raises: Misconfigured when there is none, or more than one and no organization was named.
    """
    found = await rows(
        connection,
        """select n.id, n.name, n.status, n.integration_type as type, n.settings, o.slug as organization
        from public.device_integrations n join public.organizations o on o.id = n.organization_id
        where (n.name = $1 or n.id::text = $1) and ($2::text is null or o.slug = $2) order by o.slug""",
        name,
        slug,
    )
    return _only(found, f"integration {name!r}", "--organization")


async def integration_named(connection: asyncpg.Connection, name: str | None) -> UUID | None:
    """Return the id of the one integration with this name or id, and None for None. Raises: Misconfigured."""
    if name is None:
        return None
    found: UUID = (await integration(connection, name, None))["id"]
    return found


async def set_status(connection: asyncpg.Connection, identifier: UUID, status: str) -> None:
    """Set an integration's status: active, inactive or error."""
    await connection.execute(
        "update public.device_integrations set status = $2, updated_at = now() where id = $1",
        identifier,
        status,
    )


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
    """Return one device by id, external id, serial number or name: its row, clocks, firmware and timeline.

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
    row = _only(found, f"device {reference!r}", "its id, or --organization")
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
    return {**row, "clocks": clocks[0] if clocks else {}, "firmware": firmware, "timeline": timeline}


async def dead_letters(
    connection: asyncpg.Connection, *, integration: UUID | None, kind: str | None, limit: int
) -> list[Row]:
    """Return dead letters without their payloads, newest first."""
    return await rows(
        connection,
        """select l.id, n.name as integration, l.kind, l.error, l.topic, l.qos, l.recorded_at,
            octet_length(l.payload) as bytes, l.truncated
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
    return _only(found, f"dead letter {identifier}", "its id")


async def drop_dead_letters(
    connection: asyncpg.Connection, *, ids: list[UUID], integration: UUID | None, kind: str | None
) -> int:
    """Delete the named dead letters, or with no ids all of an integration or kind. Return how many."""
    done = await connection.execute(
        """delete from rollcall.dead_letters l where (cardinality($1::uuid[]) = 0 or l.id = any ($1))
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
            and (cardinality($2::text[]) = 0 or p.external_device_id = any ($2))""",
        integration,
        ids,
    )
    return int(done.split()[-1])


def _only(found: list[Row], what: str, how: str) -> Row:
    if not found:
        raise Misconfigured(f"there is no {what}")
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} rows match the {what}: name one by {how}")
    return found[0]
