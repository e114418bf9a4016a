"""A chunk of a listing becomes rows: identity, apply, facts, staging and counts in one transaction.

A dry run does the same, compares the rows before and after, and rolls it back.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg

from handlers.events import DeviceKey, Micros
from handlers.evidence import Evidence
from handlers.identity import label
from ingest.errors import DatabaseAway, Refused, RollcallError, Unattributed
from ingest.reconcile import differences
from ingest.reconcile.differences import Difference
from ingest.reconcile.listing import evidence_of, key_of
from ingest.reconcile.plan import Plan
from ingest.reconcile.pushes import Push, pushes_of
from ingest.reconcile.retries import with_retries
from ingest.reconcile.runs import Run, Runs
from ingest.reconcile.staging import Staged
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities, ReportedConflict
from ingest.store.commit.parking import Parking
from ingest.store.errors import FAULTS, Contended, acquired
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

Connection = Any
CHUNK = 2_000
MAX_REFUSED_FIRST = 10
"""Devices that the database may refuse before it has taken any."""
SLICE = 200
"""Devices that are decoded before others get their turn."""


@dataclass(slots=True)
class Applied:
    """What a chunk led to: what the provider is to be told, and in a dry run what would have changed."""

    pushes: list[Push] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Applied") -> None:
        """Take in another chunk's."""
        self.pushes += other.pushes
        self.differences += other.differences


@dataclass(slots=True)
class Chunk:
    """What devices say whose staging ids go from `first` to `last`; `digests` of those to be applied whole."""

    first: int
    last: int
    said: dict[DeviceKey, Evidence] = field(default_factory=dict)
    digests: dict[str | None, int] = field(default_factory=dict)

    def add(self, key: DeviceKey, evidence: Evidence) -> None:
        """Take a device in; what it says twice counts together."""
        if key in self.said:
            evidence.merge(self.said[key])
        self.said[key] = evidence


class Chunks:
    """Applies chunks. Methods raise DatabaseAway and RunLost."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        runs: Runs,
        plan: Plan,
        updatable: frozenset[str],
        jitter: random.Random,
        *,
        tells_connections: bool = True,
        presence_resolution: Micros = 0,
        timeout_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._runs = runs
        self._plan = plan
        self._updatable = updatable
        self._jitter = jitter
        self._tells_connections = tells_connections
        self._resolution = presence_resolution
        self._timeout_s = timeout_s
        self._has_applied = False
        self._refused = 0

    async def prepare(self, run: Run, staged: Sequence[Staged]) -> Chunk:
        """Decode a chunk, and let others have their turn meanwhile."""
        plan, proves_silence = self._plan, run.complete and not self._tells_connections
        chunk = Chunk(staged[0].id, staged[-1].id)
        for place, (_, device, listed_at, digest) in enumerate(staged):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if digest is not None:
                chunk.digests[device.external_id] = digest
            evidence = evidence_of(
                plan.integration_id, device, listed_at, plan.dating, proves_silence=proves_silence
            )
            chunk.add(key_of(device), evidence)
        return chunk

    async def apply(self, run: Run, staged: Sequence[Staged], chunk: Chunk | None = None) -> Applied:
        """Apply these devices and take them out of staging; one that the database refuses costs only itself."""
        chunk = chunk or await self.prepare(run, staged)
        try:
            applied = await with_retries(lambda: self._commit(run, chunk), self._jitter)
        except FAULTS as fault:
            if len(staged) == 1:
                return await self._refuse(run, staged[0], chunk, fault)
        else:
            self._has_applied = True
            return applied
        middle, applied = len(staged) // 2, Applied()
        for half in (staged[:middle], staged[middle:]):
            applied.add(await self.apply(run, half))
        return applied

    async def _refuse(self, run: Run, staged: Staged, chunk: Chunk, fault: RollcallError) -> Applied:
        """Leave out the one device that the database refuses; where it has taken none yet, it is the database's fault.

        Raises: DatabaseAway.
        """
        self._refused += 1
        if self._refused > MAX_REFUSED_FIRST and not self._has_applied:
            raise DatabaseAway(f"the database takes none of the listed devices: {fault}")
        run.note(f"{staged.device.external_id}: refused by the database: {fault}")
        empty = Chunk(chunk.first, chunk.last)
        return await with_retries(lambda: self._commit(run, empty), self._jitter)

    async def _commit(self, run: Run, chunk: Chunk) -> Applied:
        reported = set(self._runs.reported)
        async with acquired(self._pool, self._timeout_s) as connection:
            async with _kept(connection, not run.dry_run):
                applied = await self._apply(connection, run, chunk, reported)
                if not run.dry_run:
                    await connection.execute(queries()["drop_staged"], run.id, chunk.first, chunk.last)
                    await self._runs.move(connection, run, **applied.counted)
            if run.dry_run:
                await self._runs.move(connection, run, **applied.counted)
        if not run.dry_run:  # what was rolled back was told to nobody
            self._runs.reported.clear()
            self._runs.reported.update(reported)
        return applied

    async def _apply(
        self, connection: Connection, run: Run, chunk: Chunk, reported: set[ReportedConflict]
    ) -> Applied:
        within, policy, said = SingleConnectionPool(connection), self._policy(run), chunk.said
        identities = Identities(within, reported=reported, preloads=False, timeout_s=self._timeout_s)
        applier = Applier(within, presence_resolution=self._resolution, timeout_s=self._timeout_s)
        unmade: dict[DeviceKey, Refused | Unattributed] = {}
        found = await identities.resolve(self._plan.integration_id, list(said), policy, unmade)
        for key, refused in unmade.items():
            run.note(f"{label(key)}: the database refuses a row for it: {refused}")
        names = {device_id: label(key) for key, device_id in found.items()}
        before = await differences.rows_of(connection, list(names)) if run.dry_run else {}
        batch, target = Batch(), Target(self._plan.offline_after, "reconcile")
        for key, device_id in found.items():
            batch.add(device_id, target, said[key])
        unknown_devices = {
            key: evidence for key, evidence in said.items() if key not in found and key not in unmade
        }
        if unknown_devices:
            parking = Parking(within, identities, applier)
            await parking.add(self._plan.integration_id, policy, unknown_devices, batch)
        if await applier.commit(batch):
            raise Contended("devices vanish while they are being written")
        await self._settle(connection, chunk, batch, found)
        return await self._outcome(connection, run, batch, names, before, len(unknown_devices))

    async def _settle(
        self, connection: Connection, chunk: Chunk, batch: Batch, found: dict[DeviceKey, UUID]
    ) -> None:
        """Remember the entries on all of whose fields both sides agree now."""
        open_ids = {one.fact.device_id for one in batch.decided if one.decision.kind not in ("agree", "take")}
        rows = [
            (device_id, key.external_id, chunk.digests[key.external_id])
            for key, device_id in found.items()
            if key.external_id in chunk.digests and device_id not in open_ids
        ]
        if rows:
            values = zip(*rows, strict=True)
            await connection.execute(queries()["settle"], self._plan.integration_id, *values)

    def _policy(self, run: Run) -> UnknownPolicy:
        """In a dry run what is made is gone with each chunk: the caps are counted here."""
        policy, made = self._plan.policy, run.created if run.dry_run else 0
        return replace(policy, max_per_minute=policy.max_per_minute - made, max_total=policy.max_total - made)

    async def _outcome(
        self,
        connection: Connection,
        run: Run,
        batch: Batch,
        names: dict[UUID, str],
        before: dict[UUID, differences.Fields | None],
        unknown: int,
    ) -> Applied:
        written = await connection.fetchrow(queries()["written_now"], list(names))
        created, changed = written["created"], written["changed"]
        matched = len(names) - created
        pushes = pushes_of(batch.decided, names, self._plan, self._updatable)
        applied = Applied(pushes)
        applied.counted = {
            "matched": matched,
            "created": created,
            "changed": changed,
            "unchanged": matched - changed,
            "unknown": unknown,
            "conflicts": sum(one.decision.kind == "conflict" for one in batch.decided),
        }
        if run.dry_run:
            after = await differences.after_all(connection, list(names))
            pushed = {(push.device_id, push.field) for push in pushes}
            told = [
                one
                for one in batch.decided
                if one.decision.kind != "push" or (one.fact.device_id, one.fact.field) in pushed
            ]
            applied.differences = [
                *differences.between(before, after, names),
                *differences.decided(told, names),
            ]
        return applied


@contextlib.asynccontextmanager
async def _kept(connection: Connection, kept: bool) -> AsyncIterator[None]:
    """A transaction that is rolled back at its end unless it is to be kept."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.commit() if kept else transaction.rollback())
