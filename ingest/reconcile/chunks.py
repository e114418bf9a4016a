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
from ingest.errors import DatabaseAway, Refused
from ingest.reconcile import differences
from ingest.reconcile.differences import Difference
from ingest.reconcile.listing import evidence_of, key_of
from ingest.reconcile.plan import Plan
from ingest.reconcile.pushes import Push, pushes_of
from ingest.reconcile.runs import Run, RunLost, Runs
from ingest.reconcile.staging import Staged
from ingest.store.apply import Applier
from ingest.store.batch import Batch, Target
from ingest.store.creation import UnknownPolicy
from ingest.store.identity import Identities, Reported
from ingest.store.parking import Parking
from ingest.store.queries import queries
from ingest.store.refusals import Contended, acquired
from ingest.store.within import Within

Connection = Any
CHUNK = 2_000
SLICE = 200
"""Devices that are decoded before others get their turn."""
TRIES = 8


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
        presence_resolution: Micros = 0,
        timeout_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._runs = runs
        self._plan = plan
        self._updatable = updatable
        self._jitter = jitter
        self._resolution = presence_resolution
        self._timeout_s = timeout_s
        self._reported: set[Reported] = set()

    async def apply(self, run: Run, staged: Sequence[Staged]) -> Applied:
        """Apply these devices and take them out of staging; one that the database refuses costs only itself."""
        try:
            return await self._with_retries(run, staged)
        except Refused as refused:
            if len(staged) == 1:
                run.note(f"{staged[0].device.external_id}: refused by the database: {refused}")
                return await self._with_retries(run, staged, skip=True)
        middle, applied = len(staged) // 2, Applied()
        for half in (staged[:middle], staged[middle:]):
            applied.add(await self.apply(run, half))
        return applied

    async def _with_retries(self, run: Run, staged: Sequence[Staged], *, skip: bool = False) -> Applied:
        for attempt in range(TRIES):
            try:
                return await self._commit(run, [] if skip else staged, (staged[0].id, staged[-1].id))
            except DatabaseAway as away:
                if isinstance(away, RunLost) or attempt == TRIES - 1:
                    raise
                cap_s = 0.1 if isinstance(away, Contended) else 0.2 * 2.0**attempt
                await asyncio.sleep(self._jitter.uniform(0, cap_s))
        raise AssertionError("unreachable")

    async def _commit(self, run: Run, staged: Sequence[Staged], span: tuple[int, int]) -> Applied:
        said = await self._said(staged)
        async with acquired(self._pool, self._timeout_s) as connection:
            async with _kept(connection, not run.dry_run):
                applied = await self._apply(connection, run, said)
                if not run.dry_run:
                    await connection.execute(queries()["drop_staged"], run.id, *span)
                    await self._runs.move(connection, run, **applied.counted)
            if run.dry_run:
                await self._runs.move(connection, run, **applied.counted)
        return applied

    async def _said(self, staged: Sequence[Staged]) -> dict[DeviceKey, Evidence]:
        said: dict[DeviceKey, Evidence] = {}
        dating = self._plan.dating
        for place, (_, device, listed_at) in enumerate(staged):
            if place % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            evidence = evidence_of(self._plan.integration_id, device, listed_at, dating)
            key = key_of(device)
            if key in said:
                evidence.merge(said[key])
            said[key] = evidence
        return said

    async def _apply(self, connection: Connection, run: Run, said: dict[DeviceKey, Evidence]) -> Applied:
        within, policy = Within(connection), self._policy(run)
        identities = Identities(within, reported=self._reported, timeout_s=self._timeout_s)
        applier = Applier(within, presence_resolution=self._resolution, timeout_s=self._timeout_s)
        found = await identities.resolve(self._plan.integration_id, list(said), policy)
        batch = Batch()
        for key, device_id in found.items():
            batch.add(device_id, Target(self._plan.offline_after, "reconcile"), said[key])
        strangers = {key: evidence for key, evidence in said.items() if key not in found}
        if strangers:
            parking = Parking(within, identities, applier)
            await parking.add(self._plan.integration_id, policy, strangers, batch)
        names = {device_id: label(key) for key, device_id in found.items()}
        before = await differences.rows_of(connection, list(names)) if run.dry_run else {}
        if await applier.commit(batch):
            raise Contended("devices vanish while they are being written")
        return await self._outcome(connection, run, batch, names, before, len(strangers))

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
