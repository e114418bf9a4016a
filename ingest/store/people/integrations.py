"""Integrations: listed without secrets, added and changed; of one organization, or of all (`organization` None)."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

from ingest.egress.address import address_of
from ingest.errors import Misconfigured
from ingest.store.config.integrations import settings_of
from ingest.store.people.audit import note, operator
from ingest.store.people.devices import only

Connection = Any
_COLUMNS = """i.id, (select o.slug from public.organizations o where o.id = i.organization_id) as organization, i.name,
    i.integration_type, coalesce(i.status, 'active') as status, i.project_id, i.base_url,
    coalesce(i.webhook_enabled, false) as webhook_enabled, i.created_at, i.updated_at,
    (select pg_catalog.count(*) from public.devices d where d.integration_id = i.id
        and d.organization_id = i.organization_id) as devices"""


class Integration(NamedTuple):
    """An integration without its settings and secrets. `organization` is a slug, `devices` counts rows."""

    id: UUID
    organization: str | None
    name: str
    integration_type: str
    status: str
    project_id: str | None
    base_url: str | None
    webhook_enabled: bool
    created_at: datetime | None
    updated_at: datetime | None
    devices: int

    @property
    def cursor(self) -> tuple[str, UUID]:
        """Where a page that ends here goes on."""
        return self.name, self.id


class StoredIntegration(NamedTuple):
    """An integration as it is stored, its settings with their secrets."""

    id: UUID
    organization_id: UUID
    name: str
    integration_type: str
    settings: Any
    base_url: str | None
    operator_address: str | None


class New(NamedTuple):
    """An integration to add; secrets in it are encrypted already. `settings` is JSON text."""

    id: UUID
    integration_type: str
    name: str
    project_id: str | None
    base_url: str | None
    api_key: str | None
    webhook_secret: str | None
    settings: str


async def integrations(
    connection: Connection,
    organization: UUID | None,
    *,
    after: tuple[str, UUID] | None = None,
    limit: int | None = None,
) -> list[Integration]:
    """Return integrations by organization and name; a cursor follows the names of one organization."""
    found = await connection.fetch(
        f"""select * from (select {_COLUMNS} from public.device_integrations i
            where ($1::uuid is null or i.organization_id = $1)
                and ($2::text is null or (i.name, i.id) > ($2, $3::uuid))) as t
        order by case when $1::uuid is null then organization end, name, id limit $4""",  # noqa: S608
        organization,
        *(after or (None, None)),
        limit,
    )
    return [Integration(**row) for row in found]


async def integration(
    connection: Connection, organization: UUID | None, integration_id: UUID
) -> Integration | None:
    """Return one integration."""
    row = await connection.fetchrow(
        f"""select {_COLUMNS} from public.device_integrations i
        where ($1::uuid is null or i.organization_id = $1) and i.id = $2""",  # noqa: S608
        organization,
        integration_id,
    )
    return Integration(**row) if row else None


async def ids(connection: Connection, organization_id: UUID) -> frozenset[UUID]:
    """Return the ids of all integrations of an organization."""
    query = "select id from public.device_integrations where organization_id = $1"
    return frozenset([row["id"] for row in await connection.fetch(query, organization_id)])


async def settings_without_secrets(connection: Connection, organization: UUID | None) -> dict[UUID, Any]:
    """Return the settings of each integration, for operators: the API's role may not read that column."""
    found = await connection.fetch(
        """select n.id, ((n.settings - 'password') #- '{webhook,secret}' #- '{webhook,previous_secret}' #- '{tls,cert}'
            #- '{tls,key}' #- '{nats,creds}' #- '{nats,nkey}')::text as settings
        from public.device_integrations n where $1::uuid is null or n.organization_id = $1""",
        organization,
    )
    return {row["id"]: _loaded(row["settings"]) for row in found}


async def find(connection: Connection, organization: UUID | None, reference: str) -> StoredIntegration:
    """Return the one integration with this name or id, for operators.

    Raises: Misconfigured when there is none, or more than one and no organization was named.
    """
    found = await connection.fetch(
        """select n.id, n.organization_id, n.name, n.integration_type, n.settings::text as settings, n.base_url,
            a.address as operator_address
        from public.device_integrations n left join rollcall.operator_addresses a on a.integration_id = n.id
        where (n.name = $2 or n.id::text = $2) and ($1::uuid is null or n.organization_id = $1)""",
        organization,
        reference,
    )
    row = only(found, f"integration {reference!r}", "--organization")
    return StoredIntegration(**{**row, "settings": _loaded(row["settings"])})


async def chosen(connection: Connection, reference: str | None) -> UUID | None:
    """Return the id of the one integration with this name or id, and None for None. Raises: Misconfigured."""
    return None if reference is None else (await find(connection, None, reference)).id


async def sessions_of(connection: Connection, integration_id: UUID) -> tuple[str, list[str]]:
    """Return the unguessable part of an integration's names ("" before the first), and its sessions' client ids."""
    secret = await connection.fetchval(
        "select secret from rollcall.mqtt_names where integration_id = $1", integration_id
    )
    found = await connection.fetch(
        "select client_id from rollcall.mqtt_sessions where integration_id = $1", integration_id
    )
    return secret or "", [row["client_id"] for row in found]


async def add(connection: Connection, organization_id: UUID, new: New, most: int) -> bool:
    """Insert an active integration; False where the organization has `most` already.

    Raises: Refused 23505 where the organization has one of this type and name.
    """
    done = await connection.execute(
        """insert into public.device_integrations (organization_id, id, integration_type, name, project_id, base_url,
            api_key_encrypted, webhook_secret, settings, status, webhook_enabled)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', $8::text is not null
        where (select pg_catalog.count(*) from public.device_integrations n where n.organization_id = $1) < $10""",
        organization_id,
        *new,
        most,
    )
    return bool(done.endswith(" 1"))


async def id_for(connection: Connection, organization_id: UUID, name: str, kind: str = "mqtt") -> UUID:
    """Return the id of the integration of this type and name, or a new one where there is none."""
    found: UUID | None = await connection.fetchval(
        """select id from public.device_integrations
        where organization_id = $1 and integration_type = $3 and name = $2""",
        organization_id,
        name,
        kind,
    )
    return found or uuid4()


async def save(
    connection: Connection,
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
        values ($1, $2, $6, $3, $4::text::jsonb, 'active', $7)
        on conflict (id) do update set settings = excluded.settings, status = 'active', updated_at = pg_catalog.now(),
            webhook_enabled = excluded.webhook_enabled
        where $5 and (t.settings, t.status, coalesce(t.webhook_enabled, false))
            is distinct from (excluded.settings, excluded.status, excluded.webhook_enabled)""",
        identifier,
        organization_id,
        name,
        orjson.dumps(settings).decode(),
        replace,
        kind,
        takes_webhooks,
    )
    if done.endswith(" 0") and not replace:
        raise Misconfigured(f"the integration {name!r} is there already: pass --replace to change it")
    await mark_address(connection, identifier, address_of(kind, None, settings))
    action = "integration.created" if is_new else "integration.changed"
    await note(connection, organization_id, operator(), action, identifier, name)


async def mark_address(connection: Connection, identifier: UUID, address: str) -> None:
    """Record that an operator gave an integration this address (ingest/egress/address.py)."""
    await connection.execute(
        """insert into rollcall.operator_addresses as t (integration_id, address) values ($1, $2)
        on conflict (integration_id) do update set address = excluded.address, set_at = pg_catalog.now()""",
        identifier,
        address,
    )


async def save_provider(
    connection: Connection,
    identifier: UUID,
    project_id: str | None,
    base_url: str | None,
    encrypted_key: str,
) -> None:
    """Write the columns that only an integration with a provider has."""
    await connection.execute(
        """update public.device_integrations set project_id = $2, base_url = $3, api_key_encrypted = $4,
            updated_at = pg_catalog.now() where id = $1""",
        identifier,
        project_id,
        base_url,
        encrypted_key,
    )


async def set_status(connection: Connection, identifier: UUID, status: str) -> None:
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


def _loaded(text: str | None) -> Any:
    return None if text is None else settings_of(text)
