"""New rows for devices that nobody knew, within the integration's caps, which are counted in the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import orjson

from handlers.events import DeviceKey
from handlers.identity import label
from ingest.errors import Refused, Unattributed
from ingest.store.commit.timeline import record
from ingest.store.errors import POSTPONED, translated
from ingest.store.queries import queries

Connection = Any
MAX_REFUSED = 16
"""Rows that are refused one by one before the other keys of the batch are left for later: each costs a savepoint."""
HALVES_PATIENCE = "250ms"
"""How long halves wait for a lock: whoever holds it has been waited for before."""


@dataclass(frozen=True, slots=True)
class UnknownPolicy:
    """What happens to ids that no row has. The caps are counted in the database, over all replicas."""

    policy: Literal["create", "park", "ignore"] = "create"
    max_per_minute: int = 6_000
    max_total: int = 100_000
    max_parked: int = 10_000
    matches_others: bool = True
    """Whether a serial number or hardware id may mean a row of another integration: not where nobody proves himself."""


@dataclass(slots=True)
class Created:
    """Ids of the rows that were made, and why others were not; a key in none of these was not tried."""

    ids: dict[DeviceKey, UUID] = field(default_factory=dict)
    refused: dict[DeviceKey, Refused | Unattributed] = field(default_factory=dict)
    held: list[DeviceKey] = field(default_factory=list)
    """Keys whose rows wait for somebody's lock."""
    waits: int = 0
    """How often somebody's lock was waited for in vain."""

    @property
    def is_given_up(self) -> bool:
        """Whether so much was refused that the other keys were not tried."""
        return len(self.refused) + self.waits >= MAX_REFUSED


async def room_for_creation(
    connection: Connection, integration_id: UUID, policy: UnknownPolicy
) -> int | None:
    """Return how many rows may be made now; locks the integration's counts, so that two replicas make none twice.

    None while somebody else keeps them locked.
    """
    try:
        async with connection.transaction():
            counts = await connection.fetchrow(queries()["counts_for_creation"], integration_id)
    except asyncpg.LockNotAvailableError:
        return None
    room: int = min(
        policy.max_total - counts["created_total"], policy.max_per_minute - counts["created_in_minute"]
    )
    return max(0, room)


async def create(connection: Connection, integration_id: UUID, keys: Sequence[DeviceKey]) -> Created:
    """Make a row for each key; of keys with the same serial number or hardware id only for the first.

    A serial number of a row that is not meant (of another organization, or of another integration where nobody proves
    himself) is left out, and the timeline says so. A row that the database refuses (a unique index of the platform, a
    trigger) costs that key alone; it counts towards the cap of the minute, and after MAX_REFUSED of them the other keys
    wait for another time.

    Raises: DatabaseAway.
    """
    wanted = _distinct(keys)
    serials = [key.serial_number for key in wanted if key.serial_number]
    rows = await connection.fetch(queries()["serials_taken"], serials) if serials else []
    taken = frozenset(row["serial_number"] for row in rows)
    created = Created()
    await _insert(connection, integration_id, wanted, taken, created)
    ids = created.ids
    await connection.execute(
        queries()["count_created"], integration_id, len(ids), len(ids) + len(created.refused)
    )
    await record(connection, "created", list(ids.values()), {})
    without = [ids[key] for key in ids if key.serial_number in taken]
    if without:
        why = "a device that is not meant has this serial number: of another organization, or integration"
        await record(connection, "conflict", without, {"field": "serial_number", "why": why})
    return created


async def _insert(
    connection: Connection,
    integration_id: UUID,
    keys: Sequence[DeviceKey],
    taken: frozenset[str],
    created: Created,
) -> None:
    """Insert all at once, and where that is refused in halves, each within a savepoint."""
    if not keys or created.is_given_up:
        return
    ids = {key: uuid4() for key in keys}
    try:
        async with connection.transaction():
            await connection.execute(
                queries()["create_devices"],
                integration_id,
                list(ids.values()),
                [key.external_id for key in keys],
                [None if key.serial_number in taken else key.serial_number for key in keys],
                [orjson.dumps(key.hardware_ids).decode() if key.hardware_ids else None for key in keys],
                [label(key) for key in keys],
            )
            # what the platform defers to the commit is tried here, too, where it is known whose row it is
            await connection.execute("set constraints all immediate")
    except asyncpg.PostgresError as error:
        fault = translated(error)
        if not isinstance(fault, Refused | Unattributed):
            raise
        if fault.sqlstate in POSTPONED:
            created.waits += 1
            await connection.execute(queries()["bound_locks"], HALVES_PATIENCE)
        if (middle := len(keys) // 2) > 0:
            for half in (keys[:middle], keys[middle:]):
                await _insert(connection, integration_id, half, taken, created)
        elif fault.sqlstate in POSTPONED:
            created.held.append(keys[0])
        else:
            created.refused[keys[0]] = fault
        return
    created.ids.update(ids)


def _distinct(keys: Sequence[DeviceKey]) -> list[DeviceKey]:
    """Leave out keys that share a serial number or a hardware id with one before: they mean the row made for that."""
    seen: set[str] = set()
    distinct: list[DeviceKey] = []
    for key in keys:
        names = {f"serial {key.serial_number}"} if key.serial_number else set()
        names |= {f"hardware {one}" for one in key.hardware_ids}
        if seen.isdisjoint(names):
            distinct.append(key)
        seen |= names
    return distinct
