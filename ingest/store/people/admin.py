"""What people's commands ask of the database about organizations and integrations."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg

from ingest.egress.address import address_of
from ingest.errors import Misconfigured
from ingest.store.people.audit import note, operator
from ingest.store.people.session import Row, rows


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

    Its address is marked as the operator's: this is asked for by people who have the database.
    Raises: Misconfigured when it is there and `replace` is False.
    """
    is_new = not await connection.fetchval(
        "select exists (select from public.device_integrations where id = $1)", identifier
    )
    done = await connection.execute(
        """insert into public.device_integrations as t
            (id, organization_id, integration_type, name, settings, status, webhook_enabled)
        values ($1, $2, $6, $3, $4, 'active', $7)
        on conflict (id) do update set settings = excluded.settings, status = 'active', updated_at = pg_catalog.now(),
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
    await mark_address(connection, identifier, address_of(kind, None, settings))
    action = "integration.created" if is_new else "integration.changed"
    await note(connection, organization_id, operator(), action, identifier, name)


async def mark_address(connection: asyncpg.Connection, identifier: UUID, address: str) -> None:
    """Note that an operator gave an integration this address (ingest/egress/address.py)."""
    await connection.execute(
        """insert into rollcall.operator_addresses as t (integration_id, address) values ($1, $2)
        on conflict (integration_id) do update set address = excluded.address, set_at = pg_catalog.now()""",
        identifier,
        address,
    )


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
            updated_at = pg_catalog.now() where id = $1""",
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
            (n.settings - 'password') #- '{webhook,secret}' #- '{webhook,previous_secret}' #- '{tls,cert}'
                #- '{tls,key}' #- '{nats,creds}' #- '{nats,nkey}' as settings,
            (select pg_catalog.count(*) from public.devices d where d.integration_id = n.id) as devices
        from public.device_integrations n join public.organizations o on o.id = n.organization_id
        order by o.slug, n.name, n.id""",
    )


async def integration(connection: asyncpg.Connection, name: str, slug: str | None) -> Row:
    """Return the one integration with this name or id, with its settings as stored.

    Raises: Misconfigured when there is none, or more than one and no organization was named.
    """
    found = await rows(
        connection,
        """select n.id, n.organization_id, n.name, n.status, n.integration_type as type, n.settings,
            o.slug as organization, n.base_url, a.address as operator_address
        from public.device_integrations n join public.organizations o on o.id = n.organization_id
            left join rollcall.operator_addresses a on a.integration_id = n.id
        where (n.name = $1 or n.id::text = $1) and ($2::text is null or o.slug = $2) order by o.slug""",
        name,
        slug,
    )
    return only(found, f"integration {name!r}", "--organization")


async def sessions_of(connection: asyncpg.Connection, integration_id: UUID) -> tuple[str, list[str]]:
    """Return the unguessable part of an integration's names ("" before the first), and its sessions' client ids."""
    secret = await connection.fetchval(
        "select secret from rollcall.mqtt_names where integration_id = $1", integration_id
    )
    found = await connection.fetch(
        "select client_id from rollcall.mqtt_sessions where integration_id = $1", integration_id
    )
    return secret or "", [row["client_id"] for row in found]


async def integration_named(connection: asyncpg.Connection, name: str | None) -> UUID | None:
    """Return the id of the one integration with this name or id, and None for None. Raises: Misconfigured."""
    if name is None:
        return None
    found: UUID = (await integration(connection, name, None))["id"]
    return found


async def set_status(connection: asyncpg.Connection, identifier: UUID, status: str) -> None:
    """Set an integration's status: active, inactive or error."""
    row = await connection.fetchrow(
        """update public.device_integrations set status = $2, updated_at = pg_catalog.now() where id = $1
        returning organization_id, name""",
        identifier,
        status,
    )
    if row is not None:
        actor = operator()
        await note(connection, row["organization_id"], actor, "integration.changed", identifier, row["name"])


def only(found: list[Row], what: str, how: str) -> Row:
    """Return the one row. Raises: Misconfigured where there is none or are several, which `how` tells apart."""
    if not found:
        raise Misconfigured(f"there is no {what}")
    if len(found) > 1:
        raise Misconfigured(f"{len(found)} rows match the {what}: name one by {how}")
    return found[0]
