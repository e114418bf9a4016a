"""Strangers: ids without a row, sifted by one question while their integration has no room for another one.

An invented id is met once, so nothing is gained by remembering it; what is remembered is that there is no room.
"""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from handlers.events import DeviceKey
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.errors import acquired
from ingest.store.queries import queries


class UnknownDeviceFilter:
    """Tells those of whom the database knows nothing and may keep nothing from those that must be looked up."""

    def __init__(
        self, pool: asyncpg.Pool, identities: Identities, parking: Parking, *, timeout_s: float = 30.0
    ) -> None:
        self._pool = pool
        self._identities = identities
        self._parking = parking
        self._timeout_s = timeout_s

    async def unknown_keys(
        self, integration_id: UUID, policy: UnknownPolicy, keys: Collection[DeviceKey]
    ) -> set[DeviceKey]:
        """Return those of `keys` that are not bound, no row's and not parked, where there is no room for them either.

        Empty while there may be room. A key with a serial number or hardware ids is never among them.
        Raises: Refused, DatabaseAway.
        """
        if self._identities.may_create(integration_id, policy) or self._parking.has_room(
            integration_id, policy
        ):
            return set()
        alone = {
            key.external_id: key
            for key in keys
            if key.external_id and not key.serial_number and not key.hardware_ids
        }
        if not alone:
            return set()
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["heard_of"], integration_id, list(alone))
        for row in rows:
            alone.pop(row[0], None)
        return set(alone.values())
