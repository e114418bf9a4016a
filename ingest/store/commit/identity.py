"""Identities: an external id is bound once in rollcall.device_identity, which decides from then on.

Where it is silent, the platform's rows are asked (handlers/identity.py), else the integration's policy for unknown
devices decides.
"""

from collections.abc import Collection, Sequence
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from handlers.events import DeviceKey
from handlers.identity import Candidate, Match, match
from ingest.errors import Refused, Unattributed
from ingest.store.commit.columns import LOCK_PATIENCE
from ingest.store.commit.creation import Created, UnknownPolicy, create, room_for_creation
from ingest.store.commit.timeline import record
from ingest.store.errors import acquired
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

Connection = Any
ReportedConflict = tuple[UUID, DeviceKey]
"""A key of an integration whose names mean different rows, and that this was said."""
MAX_CACHED = 2_000_000
MAX_PRELOADED = 250_000
PRELOAD_FROM = 200
"""Keys asked for at once of an integration of which nothing is cached: then all its bindings are read, in one go."""
FULL_FOR_S = 1.0
HELD_FOR_S = 4.0
MAX_HELD = 10_000
ROUNDS = 3
"""Of matching after creating: keys that share a serial number find the row that was made for the first of them."""


class Identities:
    """Device key -> device id, cached. A cached id whose row is gone is noticed by the apply, which says so."""

    def __init__(
        self,
        pool: asyncpg.Pool | SingleConnectionPool,
        *,
        timeout_s: float = 30.0,
        reported: set[ReportedConflict] | None = None,
        preloads: bool = True,
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._preloads = preloads
        self._known: dict[UUID, dict[DeviceKey, UUID]] = {}
        self._full_until: dict[UUID, float] = {}
        """Until when an integration that may create nothing is not asked again: a flood would ask with every batch."""
        self._held_until: dict[ReportedConflict, float] = {}
        """Until when a row is not tried again that waited for somebody's lock: others wait meanwhile."""
        self._blocked_until: dict[UUID, float] = {}
        """Until when no row of an integration is tried: so many were refused, or somebody holds its counts."""
        self._unmade: dict[UUID, dict[DeviceKey, UnknownPolicy]] = {}
        """Keys that may have a row and got none because of a lock: `retry_unmade` tries them again."""
        self._reported = set() if reported is None else reported

    def of(self, integration_id: UUID) -> dict[DeviceKey, UUID]:
        """Return what is cached of one integration: read only."""
        return self._known.setdefault(integration_id, {})

    def forget(self, device_ids: Sequence[UUID]) -> None:
        """Drop what is cached of these rows: they are gone."""
        gone = set(device_ids)
        for integration_id, known in self._known.items():
            self._known[integration_id] = {key: device for key, device in known.items() if device not in gone}

    def may_create(self, integration_id: UUID, policy: UnknownPolicy) -> bool:
        """Return whether an id without a row may get one, as far as is known: no room is remembered FULL_FOR_S."""
        return policy.policy == "create" and self._full_until.get(integration_id, 0.0) <= monotonic()

    async def resolve(
        self,
        integration_id: UUID,
        keys: Sequence[DeviceKey],
        policy: UnknownPolicy,
        unmade: dict[DeviceKey, Refused | Unattributed] | None = None,
    ) -> dict[DeviceKey, UUID]:
        """Return the rows of these keys; creates what the policy allows. Keys without a row are not in the answer.

        Keys for which the database refuses a row go into `unmade`, each with its reason; without it one is raised.
        Raises: Refused, DatabaseAway.
        """
        if self._preloads and len(keys) >= PRELOAD_FROM and not self.of(integration_id):
            await self._preload(integration_id)
            known = self.of(integration_id)
            if all(key in known for key in keys):
                return {key: known[key] for key in keys}
        refused: dict[DeviceKey, Refused | Unattributed] = {}
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await connection.execute(queries()["bound_locks"], LOCK_PATIENCE)
            found = await self._find(
                connection, integration_id, sorted(set(keys), key=_order), policy, refused
            )
            if refused and unmade is None:
                raise next(iter(refused.values()))
        if unmade is not None:
            unmade.update(refused)
        known = self.of(integration_id)
        if len(known) > MAX_CACHED:
            known.clear()
        known.update(found)
        return found

    async def _preload(self, integration_id: UUID) -> None:
        """Cache the bindings: a process that starts on a backlog meets every device of it."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["all_identities"], integration_id, MAX_PRELOADED)
        self.of(integration_id).update({DeviceKey(row[0]): row[1] for row in rows})

    async def _find(
        self,
        connection: Connection,
        integration_id: UUID,
        keys: list[DeviceKey],
        policy: UnknownPolicy,
        refused: dict[DeviceKey, Refused | Unattributed],
    ) -> dict[DeviceKey, UUID]:
        found = await _bound(connection, integration_id, keys)
        rest = await self._match(connection, integration_id, _without(keys, found), found, policy)
        if not rest or not self.may_create(integration_id, policy):
            return found
        rest = self._triable(integration_id, rest, policy)
        room = await room_for_creation(connection, integration_id, policy) if rest else 0
        if not rest:
            return found
        if room is None:
            self._block(integration_id, rest, policy)
            return found
        if not room:
            self._full_until[integration_id] = monotonic() + FULL_FOR_S
            return found
        for _ in range(ROUNDS):
            # again, now that no other replica can create
            found.update(await _bound(connection, integration_id, rest))
            rest = await self._match(connection, integration_id, _without(rest, found), found, policy)
            if not rest or room <= 0:
                break
            # what is refused is tried again in the next round: another writer may have made the same row just now
            created = await create(connection, integration_id, rest[:room])
            await _bind(connection, integration_id, created.ids)
            found.update(created.ids)
            refused.update(created.refused)
            room -= len(created.ids) + len(created.refused)
            self._note_held(integration_id, created, policy)
            rest = [key for key in rest if key not in created.held]
            if created.is_given_up:
                untried = [key for key in rest if key not in found and key not in refused]
                self._block(integration_id, untried, policy)
                break
        for key in found:
            refused.pop(key, None)
        return found

    async def retry_unmade(self, integration_id: UUID) -> None:
        """Make the rows that a lock kept from being made, where it is gone. Raises: Refused, DatabaseAway."""
        waiting = self._unmade.pop(integration_id, None)
        for policy in set(waiting.values()) if waiting else ():
            mine = [key for key, wanted in (waiting or {}).items() if wanted == policy]
            await self.resolve(integration_id, mine, policy, {})

    def _triable(self, integration_id: UUID, keys: list[DeviceKey], policy: UnknownPolicy) -> list[DeviceKey]:
        """Return the keys whose rows may be tried now; the others are remembered."""
        now = monotonic()
        if self._blocked_until.get(integration_id, 0.0) > now:
            self._remember(integration_id, keys, policy)
            return []
        held = {key for key in keys if self._held_until.get((integration_id, key), 0.0) > now}
        self._remember(integration_id, held, policy)
        return [key for key in keys if key not in held]

    def _block(self, integration_id: UUID, keys: list[DeviceKey], policy: UnknownPolicy) -> None:
        self._blocked_until[integration_id] = monotonic() + FULL_FOR_S
        self._remember(integration_id, keys, policy)

    def _note_held(self, integration_id: UUID, created: Created, policy: UnknownPolicy) -> None:
        if len(self._held_until) > MAX_HELD:
            self._held_until.clear()
        for key in created.held:
            self._held_until[integration_id, key] = monotonic() + HELD_FOR_S
        self._remember(integration_id, created.held, policy)

    def _remember(self, integration_id: UUID, keys: Collection[DeviceKey], policy: UnknownPolicy) -> None:
        unmade = self._unmade.setdefault(integration_id, {}) if keys else {}
        if len(unmade) < MAX_HELD:
            unmade.update(dict.fromkeys(keys, policy))

    async def _match(
        self,
        connection: Connection,
        integration_id: UUID,
        keys: list[DeviceKey],
        found: dict[DeviceKey, UUID],
        policy: UnknownPolicy,
    ) -> list[DeviceKey]:
        """Bind the keys that name a row, add them to `found`, and return those that name none."""
        likely = await _likely(connection, integration_id, keys)
        if not likely:
            return keys
        matches = await _matches(connection, integration_id, likely, others=policy.matches_others)
        met = {key: one.device_id for key, one in matches.items() if one.device_id is not None}
        for key, one in matches.items():
            if one.duplicates:
                await record(connection, "conflict", one.duplicates, {"bound_instead": str(one.device_id)})
            if one.conflicting and (integration_id, key) not in self._reported:
                await self._report(connection, integration_id, key, one)
        await _bind(connection, integration_id, met)
        found.update(met)
        return [key for key in keys if key not in matches]

    async def _report(
        self, connection: Connection, integration_id: UUID, key: DeviceKey, clash: Match
    ) -> None:
        """Say once a process that an event's keys name different rows: it is applied to none."""
        if len(self._reported) > 10_000:
            self._reported.clear()
        self._reported.add((integration_id, key))
        rows = ", ".join(str(one) for one in clash.conflicting)
        detail = {
            "external_id": key.external_id or "",
            "serial_number": key.serial_number or "",
            "rows": rows,
        }
        await record(connection, "conflict", clash.conflicting, detail)


def _order(key: DeviceKey) -> tuple[str, str, tuple[str, ...]]:
    """The same over all replicas, so that they do not deadlock."""
    return key.external_id or "", key.serial_number or "", key.hardware_ids


def _without(keys: list[DeviceKey], found: dict[DeviceKey, UUID]) -> list[DeviceKey]:
    return [key for key in keys if key not in found]


async def _bound(
    connection: Connection, integration_id: UUID, keys: list[DeviceKey]
) -> dict[DeviceKey, UUID]:
    external = sorted({key.external_id for key in keys if key.external_id})
    rows = await connection.fetch(queries()["identities"], integration_id, external)
    bound = {row["external_device_id"]: row["device_id"] for row in rows}
    return {key: bound[key.external_id] for key in keys if key.external_id in bound}


async def _likely(connection: Connection, integration_id: UUID, keys: list[DeviceKey]) -> list[DeviceKey]:
    """Leave out the keys that are an external id alone and no row's: most of a flood, for a fifth of the cost."""
    alone = [key.external_id for key in keys if not key.serial_number and not key.hardware_ids]
    rows = await connection.fetch(queries()["external_ids"], integration_id, alone) if alone else []
    there = {row[0] for row in rows}
    return [key for key in keys if key.serial_number or key.hardware_ids or key.external_id in there]


async def _matches(
    connection: Connection, integration_id: UUID, keys: list[DeviceKey], *, others: bool
) -> dict[DeviceKey, Match]:
    rows = await connection.fetch(
        queries()["candidates"],
        integration_id,
        [key.external_id for key in keys],
        [key.serial_number for key in keys],
        [orjson.dumps(key.hardware_ids).decode() if key.hardware_ids else None for key in keys],
        others,
    )
    candidates: dict[DeviceKey, list[Candidate]] = {}
    for row in rows:
        candidates.setdefault(keys[row["place"] - 1], []).append(Candidate(row["id"], row["how"]))
    return {key: match(mine) for key, mine in candidates.items()}


async def _bind(connection: Connection, integration_id: UUID, devices: dict[DeviceKey, UUID]) -> None:
    named = {key.external_id: device for key, device in devices.items() if key.external_id}
    if named:
        await connection.execute(
            queries()["bind_identities"], integration_id, list(named), list(named.values())
        )
