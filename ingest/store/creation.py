"""New rows for devices that nobody knew, within the integration's caps, which are counted in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import orjson

from handlers.events import DeviceKey
from handlers.identity import label
from ingest.store.queries import queries
from ingest.store.timeline import record

Connection = Any


@dataclass(frozen=True, slots=True)
class UnknownPolicy:
    """What happens to ids that no row has. The caps are counted in the database, over all replicas."""

    policy: Literal["create", "park", "ignore"] = "create"
    max_per_minute: int = 6_000
    max_total: int = 100_000
    max_parked: int = 10_000
    matches_others: bool = True
    """Whether a serial number or hardware id may mean a row of another integration: not where nobody proves himself."""


async def room_for_creation(connection: Connection, integration_id: UUID, policy: UnknownPolicy) -> int:
    """Return how many rows may be made now; locks the integration's counts, so that two replicas make none twice."""
    counts = await connection.fetchrow(queries()["counts_for_creation"], integration_id)
    room: int = min(
        policy.max_total - counts["created_total"], policy.max_per_minute - counts["created_in_minute"]
    )
    return max(0, room)


async def create(
    connection: Connection, integration_id: UUID, keys: Sequence[DeviceKey]
) -> dict[DeviceKey, UUID]:
    """Make a row for each key; of keys with the same serial number or hardware id only for the first.

    A serial number of a row that is not meant (of another organization, or of another integration where nobody proves
    himself) is left out, and the timeline says so.
    """
    wanted = _distinct(keys)
    serials = [key.serial_number for key in wanted if key.serial_number]
    rows = await connection.fetch(queries()["serials_taken"], serials) if serials else []
    taken = {row["serial_number"] for row in rows}
    ids = {key: uuid4() for key in wanted}
    await connection.execute(
        queries()["create_devices"],
        integration_id,
        list(ids.values()),
        [key.external_id for key in wanted],
        [None if key.serial_number in taken else key.serial_number for key in wanted],
        [orjson.dumps(key.hardware_ids).decode() if key.hardware_ids else None for key in wanted],
        [label(key) for key in wanted],
    )
    await connection.execute(queries()["count_created"], integration_id, len(wanted))
    await record(connection, "created", list(ids.values()), {})
    without = [ids[key] for key in wanted if key.serial_number in taken]
    if without:
        why = "a device that is not meant has this serial number: of another organization, or integration"
        await record(connection, "conflict", without, {"field": "serial_number", "why": why})
    return ids


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
