"""Parking: what an id without a row said is kept, one bounded row an id, until its device appears."""

import logging
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import asyncpg
import orjson

from handlers.events import DeviceKey, Micros
from handlers.evidence import Evidence
from handlers.identity import label
from handlers.parked import from_parked, to_parked
from ingest.errors import RollcallError
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Parked, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import FULL_FOR_S, Identities
from ingest.store.errors import FAULTS, acquired
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

log = logging.getLogger(__name__)

PAGE = 500
"""Parked ids looked at and adopted at once."""
STUCK_EVERY_S = 60.0


class Given(NamedTuple):
    """What is parked of one device that has a row by now."""

    integration_id: UUID
    target: Target
    device_id: UUID
    row: asyncpg.Record


class Parking:
    """Parks evidence of unknown ids within the integration's bound, and gives it to devices that appeared."""

    def __init__(
        self,
        pool: asyncpg.Pool | SingleConnectionPool,
        identities: Identities,
        applier: Applier,
        *,
        timeout_s: float = 30.0,
    ) -> None:
        self._pool = pool
        self._identities = identities
        self._applier = applier
        self._timeout_s = timeout_s
        self._full_until: dict[UUID, float] = {}
        self._stuck_at: dict[UUID, float] = {}

    def has_room(self, integration_id: UUID, policy: UnknownPolicy) -> bool:
        """Return whether another id may be parked, as far as is known: no room is remembered FULL_FOR_S."""
        return policy.policy != "ignore" and self._full_until.get(integration_id, 0.0) <= monotonic()

    async def add(
        self, integration_id: UUID, policy: UnknownPolicy, of_keys: dict[DeviceKey, Evidence], batch: Batch
    ) -> int:
        """Put these into `batch` merged with what is parked of them; return how many ids there was no room for.

        Raises: Refused, DatabaseAway.
        """
        if policy.policy == "ignore":
            return len(of_keys)
        unknown = _by_label(of_keys)
        async with acquired(self._pool, self._timeout_s) as connection:
            parked = await connection.fetch(queries()["parked"], integration_id, sorted(unknown))
            room = policy.max_parked - await connection.fetchval(queries()["count_parked"], integration_id)
        known = {row["external_device_id"]: row for row in parked}
        fresh = [name for name in unknown if name not in known]
        taken = fresh[: max(0, room)]
        # another sender of the integration may have parked the same id in this batch: they count together
        placed = {one.label: n for n, one in enumerate(batch.parked) if one.integration_id == integration_id}
        for name in [*known, *taken]:
            (key, evidence), messages = unknown[name], 0
            if name in known:
                before = from_parked(orjson.loads(known[name]["evidence"]))
                evidence = Evidence.united(evidence, before)
                key, messages = _united(_key(known[name]["key"]), key), known[name]["messages"]
            place = placed.get(name, len(batch.parked))
            if place < len(batch.parked):
                theirs = from_parked(orjson.loads(batch.parked[place].evidence))
                evidence = Evidence.united(evidence, theirs)
                key = _united(_key(batch.parked[place].key), key)
            form = orjson.dumps(to_parked(evidence)).decode()
            named = orjson.dumps(key._asdict()).decode()
            batch.parked[place : place + 1] = [Parked(integration_id, name, named, form, messages)]
        if len(taken) < len(fresh):
            self._full_until[integration_id] = monotonic() + FULL_FOR_S
        return len(fresh) - len(taken)

    async def adopt(self, integration_id: UUID, offline_after: Micros, *, matches_others: bool = True) -> int:
        """Apply what is parked for devices that have a row by now; return how many.

        `matches_others`: as in the integration's policy.

        Raises: Refused, DatabaseAway (Contended).
        """
        await self._identities.retry_unmade(integration_id)
        after: str | None = ""
        adopted = 0
        while after is not None:
            async with acquired(self._pool, self._timeout_s) as connection:
                end = await connection.fetchval(queries()["parked_page_end"], integration_id, after, PAGE)
                rows = await connection.fetch(queries()["parked_with_device"], integration_id, after, end)
            if rows:
                adopted += await self._give(integration_id, offline_after, rows, matches_others)
            after = end
        return adopted

    async def _give(
        self, integration_id: UUID, offline_after: Micros, rows: list[asyncpg.Record], matches_others: bool
    ) -> int:
        """Apply these to the devices that they mean; one whose names mean several stays parked."""
        parked = {_key(row["key"]): row for row in rows}
        policy = UnknownPolicy("ignore", matches_others=matches_others)
        found = await self._identities.resolve(integration_id, list(parked), policy)
        locked = await self._applier.locked(found.values()) if found else set()
        given = [
            Given(integration_id, Target(offline_after), device_id, parked[key])
            for key, device_id in found.items()
            if device_id not in locked
        ]
        return await self._write(given) if given else 0

    async def _write(self, given: list[Given]) -> int:
        """Apply them in one commit, and where that is refused in halves: what is refused alone stays parked."""
        batch = Batch()
        for one in given:
            batch.add(one.device_id, one.target, from_parked(orjson.loads(one.row["evidence"])))
            batch.unparked.append((one.integration_id, one.row["label"], one.row["messages"]))
        try:
            gone = await self._applier.commit(batch)
        except FAULTS as fault:
            if len(given) == 1:
                self._note_stuck(given[0], fault)
                return 0
            middle = len(given) // 2
            return await self._write(given[:middle]) + await self._write(given[middle:])
        self._identities.forget(gone)
        return 0 if gone else len(batch.unparked)

    def _note_stuck(self, given: Given, fault: RollcallError) -> None:
        """Log at most once a STUCK_EVERY_S an integration that a device's row takes nothing of what is parked of it."""
        now = monotonic()
        if self._stuck_at.get(given.integration_id, 0.0) + STUCK_EVERY_S < now:
            self._stuck_at[given.integration_id] = now
            log.warning("what device %s sent stays parked: %s", given.device_id, fault)


def _by_label(of_keys: dict[DeviceKey, Evidence]) -> dict[str, tuple[DeviceKey, Evidence]]:
    """Return what is said of each label: keys that share one share its row, with all names that they have."""
    said: dict[str, tuple[DeviceKey, Evidence]] = {}
    for key, evidence in of_keys.items():
        name = label(key)
        if name in said:
            other, before = said[name]
            said[name] = _united(other, key), Evidence.united(before, evidence)
        else:
            said[name] = key, evidence
    return said


def _united(one: DeviceKey, other: DeviceKey) -> DeviceKey:
    return DeviceKey(
        one.external_id or other.external_id,
        one.serial_number or other.serial_number,
        tuple(sorted({*one.hardware_ids, *other.hardware_ids})),
    )


def _key(form: str) -> DeviceKey:
    named = orjson.loads(form)
    return DeviceKey(named["external_id"], named["serial_number"], tuple(named["hardware_ids"]))
