"""The committer: the process's only writer. Takes what waits, commits it, and only then acknowledges it, in order."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

from ingest.errors import DatabaseAway, EventsKnown, Refused, SessionsLost
from ingest.pipeline.batches import Batches, RowsUnmade
from ingest.pipeline.culprits import Culprits, Fault, Undecided
from ingest.pipeline.intake import Intake
from ingest.pipeline.open_batch import Counts, OpenBatch
from ingest.pipeline.pipelined import PipelinedCommit
from ingest.pipeline.refusal_rate import RefusedDevices
from ingest.pipeline.segment import Superseded
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch
from ingest.store.errors import FAULTS, Contended

MAX_VANISHED = 5
"""Tries of one batch while devices of it are being deleted by others."""
MAX_ROUNDS = 4
"""Attributions of one batch: after each, what was found at fault is left out of it."""
DROPPED_EVERY_S = 1.0
MISSING = "23503"
"""SQLSTATE of a row that is named and is not there."""
HELD_S = 5.0
"""A batch of which nothing can be committed is tried again after this long at the latest, with newer arrivals."""

log = logging.getLogger(__name__)


class Committer:
    """Commits batch after batch until cancelled; `run` never ends by itself.

    `observe` is called with the entries and the seconds of each commit.
    """

    def __init__(
        self,
        intake: Intake,
        applier: Applier,
        batches: Batches,
        counts: Counts,
        *,
        jitter: random.Random,
        observe: Callable[[int, float], None] = lambda entries, seconds: None,
    ) -> None:
        self._intake = intake
        self._applier = applier
        self._batches = batches
        self._counts = counts
        self._jitter = jitter
        self._observe = observe
        self._refusals = RefusedDevices()
        self._culprits = Culprits(applier, batches, self._refusals)
        self._held = 0
        self._dropped: Counter[UUID] = Counter()
        """Unknown devices that were not kept, by integration, and of which the database has not been told."""
        self._dropped_written_at = 0.0
        self.outage: str | None = None
        """Why the database cannot be written now; None while all is well."""
        self.in_hand: OpenBatch | None = None
        """What is being committed."""
        self.waits_for: str | None = None
        """Why the batch in hand was not committed at its last try; None at its first."""
        self.committed_at = time.monotonic()
        """When the last commit succeeded (time.monotonic, seconds); at first, the start."""

    async def run(self) -> None:
        """Take, commit, acknowledge, until cancelled. A batch that fills up is prepared while the last one commits."""
        following: tuple[OpenBatch, PipelinedCommit | None] | None = None
        try:
            while True:
                open_batch, pipelined = following or (await self._intake.take(), None)
                self.in_hand, self.waits_for = open_batch, None
                committing = asyncio.create_task(self._commit_or_split(open_batch, pipelined))
                try:
                    following = await self._prepare_beside(committing, pipelined)
                    held = await committing
                finally:
                    committing.cancel()
                if held is not None:
                    following = await self._with_newer(held, following), None
                else:
                    self.in_hand = None
                    self._intake.release(open_batch)
        finally:
            if following is not None and following[1] is not None:
                following[1].cancel()

    async def _with_newer(
        self, held: OpenBatch, following: tuple[OpenBatch, PipelinedCommit | None] | None
    ) -> OpenBatch:
        """Wait a little, and put what came meanwhile behind what is held: another device may show whose fault it is."""
        await self._pause(min(HELD_S, 0.1 * 2 ** min(self._held, 6)))
        self._held += 1
        if following is not None:
            if following[1] is not None:
                following[1].cancel()
            held = held.joined(following[0])
        fresh = self._intake.take_waiting()
        return held if fresh is None else held.joined(fresh)

    async def _prepare_beside(
        self, committing: asyncio.Task[OpenBatch | None], before: PipelinedCommit | None
    ) -> tuple[OpenBatch, PipelinedCommit | None] | None:
        filling = asyncio.create_task(self._intake.take_full())
        try:
            await asyncio.wait({committing, filling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not filling.done():
                filling.cancel()
        if not filling.done():
            return None
        open_batch = filling.result()
        batch, unknown = self._batches.known(open_batch)
        if unknown:
            return open_batch, None
        self._applier.prepare(batch)
        return open_batch, PipelinedCommit(batch, self._applier, after=before)

    async def _commit_or_split(
        self, open_batch: OpenBatch, pipelined: PipelinedCommit | None = None
    ) -> OpenBatch | None:
        """Commit and acknowledge it, but what came by sessions that another process has taken up since.

        Webhook events that another process has committed meanwhile are answered and not applied. Returns what could
        not be committed: it heads the next round, and nothing of it is acknowledged.
        """
        dead = _by_kind(open_batch)
        while True:
            try:
                open_batch = await self._attributed(open_batch, pipelined)
            except EventsKnown as known:
                log.debug("%s", known)
                self._counts.duplicates += len(known.known)
                open_batch = open_batch.without(Superseded(events=known.known))
            except SessionsLost as lost:
                log.warning("%s: what is in hand of them is left to it", lost)
                open_batch = open_batch.without(Superseded(sessions=lost.lost))
                if not open_batch.count:
                    return None
            except Undecided as undecided:
                self._note_outage(str(undecided))
                return undecided.open_batch
            else:
                for (integration_id, kind), count in (_by_kind(open_batch) - dead).items():
                    self._counts.rejections.count_dead_letter(integration_id, kind, count)
                self._held = 0
                self._acknowledge(open_batch)
                return None
            pipelined = None

    async def _attributed(self, open_batch: OpenBatch, pipelined: PipelinedCommit | None) -> OpenBatch:
        """Commit it and return it, with what the database refuses as dead letters, or what it cannot write now parked.

        Raises: Undecided, SessionsLost, EventsKnown.
        """
        why = ""
        for _ in range(MAX_ROUNDS):
            try:
                if pipelined is None:
                    open_batch = await self._culprits.beforehand(open_batch)
                await self._commit_with_retries(open_batch, pipelined)
            except RowsUnmade as unmade:
                log.warning("%s: what they sent are dead letters", unmade)
                why = str(unmade)
                open_batch = open_batch.without(Superseded(fates=open_batch.entries_naming(unmade.unmade)))
            except FAULTS as fault:
                why = str(fault)
                open_batch = await self._without_culprits(open_batch, fault)
            else:
                return open_batch
            pipelined = None
        raise Undecided(open_batch, why)

    async def _without_culprits(self, open_batch: OpenBatch, fault: Fault) -> OpenBatch:
        self.waits_for = str(fault)
        if self.outage is None:
            log.warning("a commit of %d is refused, looking for the cause: %s", open_batch.count, fault)
        try:
            if fault.sqlstate == MISSING and (
                gone := await self._applier.integrations_gone(open_batch.integrations)
            ):
                log.warning("%d integrations were deleted while messages of them were in hand", len(gone))
                return open_batch.without(Superseded(integrations=gone))
            return await self._culprits.without(open_batch, fault)
        except (Refused, DatabaseAway) as error:
            raise Undecided(open_batch, str(error)) from error

    async def _commit_with_retries(
        self, open_batch: OpenBatch, pipelined: PipelinedCommit | None = None
    ) -> None:
        attempt = 0
        while True:
            try:
                await self._commit(open_batch, pipelined)
            except Contended as contended:
                self.waits_for = str(contended)
                await self._pause(0.05)
            except FAULTS:
                raise
            except DatabaseAway as away:
                attempt += 1
                self._note_outage(str(away))
                await self._pause(min(5.0, 0.1 * 2 ** min(attempt, 6)))
            else:
                if self.outage is not None:
                    log.warning("the database is back")
                self.outage = None
                self.committed_at = time.monotonic()
                return

    def _note_outage(self, why: str) -> None:
        if self.outage is None:
            log.error("the database is away, nothing is acknowledged: %s", why)
        self.outage = self.waits_for = why

    async def _pause(self, cap_s: float) -> None:
        await asyncio.sleep(self._jitter.uniform(0, cap_s))

    async def _commit(self, open_batch: OpenBatch, pipelined: PipelinedCommit | None) -> None:
        for _ in range(MAX_VANISHED):
            if pipelined is None:
                batch = await self._batches.resolved(open_batch)
                if time.monotonic() - self._dropped_written_at > DROPPED_EVERY_S:
                    batch.dropped = self._dropped.copy()
                pipelined = PipelinedCommit(batch, self._applier)
            began = time.perf_counter()
            gone = await pipelined.commit()
            if not gone:
                self._observe(open_batch.count, time.perf_counter() - began)
                self._counts.commits += 1
                self._counts.committed += open_batch.count
                self._note_dropped(pipelined.batch)
                self._refusals.heard(pipelined.batch.devices)
                return
            self._batches.forget(gone)
            pipelined = None
        raise DatabaseAway("devices vanish while they are being written")

    def _note_dropped(self, batch: Batch) -> None:
        """Count unknown devices that were not kept; into the database once a second, not with each commit."""
        if batch.dropped:
            self._dropped.subtract(batch.dropped)
            self._dropped = +self._dropped
            self._dropped_written_at = time.monotonic()
        self._dropped.update(+batch.rejected_unknown)
        self._counts.rejections.drop_unknown(batch.rejected_unknown)

    def _acknowledge(self, open_batch: OpenBatch) -> None:
        for segment in open_batch.segments:
            segment.acknowledge()
        self._counts.acknowledged += open_batch.count


def _by_kind(open_batch: OpenBatch) -> Counter[tuple[UUID, str]]:
    """Count the dead letters of a batch by integration and kind."""
    return Counter((one.integration_id, one.kind) for one in open_batch.dead_letters)
