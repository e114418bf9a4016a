"""Ids that spoke and have no device row: listed, dropped, and made a device."""

import sys
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from handlers.events import DeviceKey
from ingest.errors import Declined
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

Connection = Any
UNCAPPED = UnknownPolicy("create", max_per_minute=sys.maxsize, max_total=sys.maxsize)
"""A person asks for the row: the caps are against ids that are invented."""


class UnknownDevice(NamedTuple):
    """A parked id. `integration` is a name, `evidence` is kept for the row to come."""

    integration_id: UUID
    integration: str
    external_device_id: str
    messages: int
    first_at: datetime
    last_at: datetime
    evidence: Any

    @property
    def cursor(self) -> tuple[str, UUID]:
        """Where a page in the order of ids that ends here goes on."""
        return self.external_device_id, self.integration_id


async def unknown_devices(
    connection: Connection,
    organization: UUID | None,
    *,
    integration_id: UUID | None,
    busiest_first: bool = False,
    after: tuple[str, UUID] | None = None,
    limit: int,
) -> list[UnknownDevice]:
    """Return parked ids in order, or those with the most messages first; a cursor follows the order of ids."""
    found = await connection.fetch(
        """select p.integration_id, i.name as integration, p.external_device_id, p.messages, p.first_at, p.last_at,
            p.evidence::text as evidence
        from rollcall.parked_devices p
        join public.device_integrations i on i.id = p.integration_id and ($1::uuid is null or i.organization_id = $1)
        where ($2::uuid is null or p.integration_id = $2) and ($4::text is null
            or (p.external_device_id collate "C", p.integration_id) > ($4, $5::uuid))
        order by case when $3 then p.messages end desc, p.external_device_id collate "C", p.integration_id limit $6""",
        organization,
        integration_id,
        busiest_first,
        *(after or (None, None)),
        limit,
    )
    return [UnknownDevice(**{**row, "evidence": orjson.loads(row["evidence"])}) for row in found]


async def drop(
    connection: Connection, organization: UUID | None, *, integration_id: UUID | None, ids: list[str]
) -> int:
    """Delete parked ids, or with no ids all of an integration. Return how many."""
    done = await connection.execute(
        """delete from rollcall.parked_devices p using public.device_integrations i
        where i.id = p.integration_id and ($1::uuid is null or i.organization_id = $1)
            and ($2::uuid is null or p.integration_id = $2)
            and (pg_catalog.cardinality($3::text[]) = 0 or p.external_device_id = any ($3))""",
        organization,
        integration_id,
        ids,
    )
    return int(done.split()[-1])


async def adopt(
    connection: Connection, organization_id: UUID, integration_id: UUID, external_id: str
) -> UUID | None:
    """Return the device that a parked id means by now, else make one; None where nothing is parked under the id.

    `Parking.adopt` then applies its parked evidence. Raises: Declined where its names mean different rows,
    Refused 23505 where its serial number is another organization's.
    """
    own = "select exists (select from public.device_integrations where organization_id = $1 and id = $2)"
    if not await connection.fetchval(own, organization_id, integration_id):
        return None
    # locks: whoever comes second finds the row that the first has made
    await connection.fetchrow(queries()["counts_for_creation"], integration_id)
    stored = await connection.fetchval(
        """select p.key::text from rollcall.parked_devices p
        where p.integration_id = $1 and p.external_device_id = $2""",
        integration_id,
        external_id,
    )
    if stored is None:
        return None
    names = orjson.loads(stored)
    key = DeviceKey(
        names.get("external_id", external_id),
        names.get("serial_number"),
        tuple(names.get("hardware_ids") or ()),
    )
    identities = Identities(SingleConnectionPool(connection), preloads=False)
    found = await identities.resolve(integration_id, [key], UNCAPPED)
    if key not in found:
        raise Declined(
            f"{external_id}: its external id, serial number and hardware ids mean different devices"
        )
    return found[key]
