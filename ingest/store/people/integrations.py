"""Integrations as the API sees them: never a secret; their runs, dead letters and unknown devices."""

import sys
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.events import DeviceKey
from ingest.errors import Declined
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.people.session import Row, rows
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

Connection = Any
UNCAPPED = UnknownPolicy("create", max_per_minute=sys.maxsize, max_total=sys.maxsize)
"""A person asks for the row: the caps are against ids that are invented."""
_COLUMNS = """i.id, i.name, i.integration_type, coalesce(i.status, 'active') as status, i.project_id, i.base_url,
    coalesce(i.webhook_enabled, false) as webhook_enabled, i.created_at, i.updated_at,
    (select pg_catalog.count(*) from public.devices d where d.integration_id = i.id
        and d.organization_id = $1) as devices"""


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
    connection: Connection, organization_id: UUID, after: tuple[str, UUID] | None, limit: int
) -> list[Row]:
    """Return integrations by name."""
    return await rows(
        connection,
        f"""select {_COLUMNS} from public.device_integrations i where i.organization_id = $1
            and ($2::text is null or (i.name, i.id) > ($2, $3::uuid))
        order by i.name, i.id limit $4""",  # noqa: S608
        organization_id,
        *(after or (None, None)),
        limit,
    )


async def ids(connection: Connection, organization_id: UUID) -> frozenset[UUID]:
    """Return the ids of all integrations of an organization."""
    query = "select id from public.device_integrations where organization_id = $1"
    return frozenset([row["id"] for row in await connection.fetch(query, organization_id)])


async def integration(connection: Connection, organization_id: UUID, integration_id: UUID) -> Row | None:
    """Return one integration."""
    found = await rows(
        connection,
        f"select {_COLUMNS} from public.device_integrations i where i.organization_id = $1 and i.id = $2",  # noqa: S608
        organization_id,
        integration_id,
    )
    return found[0] if found else None


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


async def runs(
    connection: Connection,
    organization_id: UUID,
    integration_id: UUID,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return reconciliations, newest first; none on a database that keeps none."""
    if not await connection.fetchval("select pg_catalog.to_regclass('rollcall.reconcile_runs') is not null"):
        return []
    found = await rows(
        connection,
        """select r.id, r.trigger, r.status, r.dry_run, r.started_at, r.finished_at, r.listed, r.created, r.changed,
            r.missing, r.conflicts, r.detail, r.errors::text as errors
        from rollcall.reconcile_runs r
        join public.device_integrations i on i.id = r.integration_id and i.organization_id = $1
        where r.integration_id = $2 and ($3::timestamptz is null or (r.started_at, r.id) < ($3, $4::uuid))
        order by r.started_at desc, r.id desc limit $5""",
        organization_id,
        integration_id,
        *(after or (None, None)),
        limit,
    )
    return [{**row, "errors": [str(one) for one in orjson.loads(row["errors"])]} for row in found]


async def dead_letters(
    connection: Connection,
    organization_id: UUID,
    *,
    integration_id: UUID | None,
    kind: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return dead letters without their payloads, newest first."""
    return await rows(
        connection,
        """select l.id, l.integration_id, l.kind, l.error, l.topic, l.qos, l.recorded_at,
            rollcall.timestamp_of(l.received_at) as received_at, pg_catalog.octet_length(l.payload) as bytes,
                l.truncated
        from rollcall.dead_letters l
        join public.device_integrations i on i.id = l.integration_id and i.organization_id = $1
        where ($2::uuid is null or l.integration_id = $2) and ($3::text is null or l.kind = $3)
            and ($4::timestamptz is null or (l.recorded_at, l.id) < ($4, $5::uuid))
        order by l.recorded_at desc, l.id desc limit $6""",
        organization_id,
        integration_id,
        kind,
        *(after or (None, None)),
        limit,
    )


async def own_dead_letters(connection: Connection, organization_id: UUID, ids: list[UUID]) -> list[UUID]:
    """Return those of the ids that are this organization's."""
    found = await connection.fetch(
        """select l.id from rollcall.dead_letters l
        join public.device_integrations i on i.id = l.integration_id and i.organization_id = $1
        where l.id = any ($2::uuid[]) order by l.id""",
        organization_id,
        ids,
    )
    return [row["id"] for row in found]


async def unknown_devices(
    connection: Connection,
    organization_id: UUID,
    *,
    integration_id: UUID | None,
    after: tuple[str, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return ids that spoke and have no row, in order."""
    return await rows(
        connection,
        """select p.integration_id, p.external_device_id, p.messages, p.first_at, p.last_at
        from rollcall.parked_devices p
        join public.device_integrations i on i.id = p.integration_id and i.organization_id = $1
        where ($2::uuid is null or p.integration_id = $2) and ($3::text is null
            or (p.external_device_id collate "C", p.integration_id) > ($3, $4::uuid))
        order by p.external_device_id collate "C", p.integration_id limit $5""",
        organization_id,
        integration_id,
        *(after or (None, None)),
        limit,
    )


async def adopt(
    connection: Connection, organization_id: UUID, integration_id: UUID, external_id: str
) -> UUID | None:
    """Return the row that a parked id means by now, else make it one; None where nothing is parked under the id.

    It is given what it said by `Parking.adopt`. Raises: Declined where its names mean different rows,
    Refused 23505 where its serial number is another organization's.
    """
    own = "select exists (select from public.device_integrations where organization_id = $1 and id = $2)"
    if not await connection.fetchval(own, organization_id, integration_id):
        return None
    # locks: whoever comes second finds the row that the first has made
    await connection.fetchrow(queries()["counts_for_creation"], integration_id)
    key = await connection.fetchval(
        """select p.key::text from rollcall.parked_devices p
        where p.integration_id = $1 and p.external_device_id = $2""",
        integration_id,
        external_id,
    )
    if key is None:
        return None
    said = orjson.loads(key)
    named = DeviceKey(
        said.get("external_id", external_id), said.get("serial_number"), tuple(said.get("hardware_ids") or ())
    )
    identities = Identities(SingleConnectionPool(connection), preloads=False)
    found = await identities.resolve(integration_id, [named], UNCAPPED)
    if named not in found:
        raise Declined(
            f"{external_id}: its external id, serial number and hardware ids mean different devices"
        )
    return found[named]
