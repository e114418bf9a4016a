"""Which row an external id names: bound once in rollcall.device_identity, which decides from then on.

Where the identity is silent, a row of the platform with that external_device_id is bound (the oldest; others are
reported in the timeline), else the integration's policy for unknown devices decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import orjson

from handlers.events import DeviceKey
from ingest.store.queries import queries
from ingest.store.refusals import acquired

Connection = Any
MAX_CACHED = 500_000


@dataclass(frozen=True, slots=True)
class UnknownPolicy:
    """What happens to ids that no row has. The caps are counted in the database, over all replicas."""

    policy: Literal["create", "park", "ignore"] = "create"
    max_per_minute: int = 6_000
    max_total: int = 100_000
    max_parked: int = 10_000


class Identities:
    """External id -> device id, cached. A cached id whose row is gone is noticed by the apply, which says so."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._known: dict[UUID, dict[DeviceKey, UUID]] = {}

    def of(self, integration_id: UUID) -> dict[DeviceKey, UUID]:
        """Return what is cached of one integration: read only."""
        return self._known.setdefault(integration_id, {})

    def forget(self, device_ids: Sequence[UUID]) -> None:
        """Drop what is cached of these rows: they are gone."""
        gone = set(device_ids)
        for integration_id, known in self._known.items():
            self._known[integration_id] = {key: device for key, device in known.items() if device not in gone}

    async def resolve(
        self, integration_id: UUID, keys: Sequence[DeviceKey], policy: UnknownPolicy
    ) -> dict[DeviceKey, UUID]:
        """Return the rows of these keys; creates what the policy allows. Keys without a row are not in the answer.

        Raises: Refused, DatabaseAway.
        """
        external_ids = {key.external_id or "" for key in keys}
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            found = await self._find(connection, integration_id, sorted(external_ids), policy)
        resolved = {key: found[key.external_id or ""] for key in keys if (key.external_id or "") in found}
        known = self.of(integration_id)
        if len(known) > MAX_CACHED:
            known.clear()
        known.update(resolved)
        return resolved

    async def _find(
        self, connection: Connection, integration_id: UUID, external_ids: list[str], policy: UnknownPolicy
    ) -> dict[str, UUID]:
        found = await _identified(connection, integration_id, external_ids)
        missing = [external for external in external_ids if external not in found]
        if missing:
            rows = await connection.fetch(queries()["devices_by_external_id"], integration_id, missing)
            await _report_duplicates(connection, [row["ids"] for row in rows])
            await _bind(
                connection, integration_id, {row["external_device_id"]: row["ids"][0] for row in rows}
            )
            bound = {row["external_device_id"] for row in rows}
            fresh = [external for external in missing if external not in bound]
            if fresh and policy.policy == "create":
                await _create(connection, integration_id, fresh, policy)
            found = await _identified(connection, integration_id, external_ids)
        return found


async def _identified(
    connection: Connection, integration_id: UUID, external_ids: list[str]
) -> dict[str, UUID]:
    rows = await connection.fetch(queries()["identities"], integration_id, external_ids)
    return {row["external_device_id"]: row["device_id"] for row in rows}


async def _bind(connection: Connection, integration_id: UUID, devices: dict[str, UUID]) -> None:
    if devices:
        await connection.execute(
            queries()["bind_identities"], integration_id, list(devices), list(devices.values())
        )


async def _create(
    connection: Connection, integration_id: UUID, external_ids: list[str], policy: UnknownPolicy
) -> None:
    # the row of counts is locked from here on: two replicas cannot create the same id
    counts = await connection.fetchrow(queries()["counts_for_creation"], integration_id)
    already = await _identified(connection, integration_id, external_ids)
    room = min(
        policy.max_total - counts["created_total"], policy.max_per_minute - counts["created_in_minute"]
    )
    wanted = [external for external in external_ids if external not in already][: max(0, room)]
    if not wanted:
        return
    ids = {external: uuid4() for external in wanted}
    await connection.execute(queries()["create_devices"], integration_id, list(ids.values()), wanted)
    await _bind(connection, integration_id, ids)
    await connection.execute(queries()["count_created"], integration_id, len(wanted))
    await record(connection, "created", list(ids.values()), {})


async def _report_duplicates(connection: Connection, groups: list[list[UUID]]) -> None:
    for oldest, *others in groups:
        if others:
            await record(connection, "conflict", others, {"bound_instead": str(oldest)})


async def record(
    connection: Connection,
    kind: str,
    subjects: list[UUID],
    detail: dict[str, str],
    components: list[str] | None = None,
) -> None:
    """Write one timeline row a subject, dated now."""
    count = len(subjects)
    now = datetime.now(UTC)
    await connection.execute(
        queries()["record_events"],
        subjects,
        [kind] * count,
        components or [""] * count,
        [now] * count,
        ["mqtt"] * count,
        [orjson.dumps(detail).decode()] * count,
    )
