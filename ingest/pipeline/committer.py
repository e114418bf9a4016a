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
from ingest.pipeline.pile import Counts, Pile
from ingest.pipeline.ready import Ready
from ingest.pipeline.refusals import RefusedDevices
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch
from ingest.store.errors import FAULTS, Contended

MAX_VANISHED = 5
"""Tries of one pile while devices of it are being deleted by others."""
MAX_ROUNDS = 4
"""Attributions of one pile: after each, what was found at fault is left out of it."""
DROPPED_EVERY_S = 1.0
MISSING = "23503"
"""SQLSTATE of a row that is named and is not there."""
HELD_S = 5.0
"""A pile of which nothing can be committed is tried again after this long at the latest, with what came meanwhile."""

log = logging.getLogger(__name__)


class Committer:
    """Commits pile after pile until cancelled; `run` never ends by itself.

    `observe` is told the entries and the seconds of each commit.
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
        self.in_hand: Pile | None = None
        """What is being committed."""
        self.waits_for: str | None = None
        """Why the pile in hand was not committed at its last try; None at its first."""
        self.committed_at = time.monotonic()
        """When the last commit succeeded (time.monotonic, seconds); at first, the start."""

    async def run(self) -> None:
        """Take, commit, acknowledge, until cancelled. What fills up meanwhile is made ready while the last commits."""
        following: tuple[Pile, Ready | None] | None = None
        try:
            while True:
                pile, ready = following or (await self._intake.take(), None)
                self.in_hand, self.waits_for = pile, None
                committing = asyncio.create_task(self._settle(pile, ready))
                try:
                    following = await self._made_ready_beside(committing, ready)
                    held = await committing
                finally:
                    committing.cancel()
                if held is not None:
                    following = await self._together(held, following), None
                else:
                    self.in_hand = None
                    self._intake.release(pile)
        finally:
            if following is not None and following[1] is not None:
                following[1].cancel()

    async def _together(self, held: Pile, following: tuple[Pile, Ready | None] | None) -> Pile:
        """Wait a little, and put what came meanwhile behind what is held: another device may show whose fault it is."""
        await self._pause(min(HELD_S, 0.1 * 2 ** min(self._held, 6)))
        self._held += 1
        if following is not None:
            if following[1] is not None:
                following[1].cancel()
            held = held.joined(following[0])
        fresh = self._intake.take_waiting()
        return held if fresh is None else held.joined(fresh)

    async def _made_ready_beside(
        self, committing: asyncio.Task[Pile | None], before: Ready | None
    ) -> tuple[Pile, Ready | None] | None:
        filling = asyncio.create_task(self._intake.take_full())
        try:
            await asyncio.wait({committing, filling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not filling.done():
                filling.cancel()
        if not filling.done():
            return None
        pile = filling.result()
        batch, unknown = self._batches.known(pile)
        if unknown:
            return pile, None
        self._applier.prepare(batch)
        return pile, Ready(batch, self._applier, behind=before)

    async def _settle(self, pile: Pile, ready: Ready | None = None) -> Pile | None:
        """Commit and acknowledge it, but what came by sessions that another process has taken up since.

        Webhook events that another process has committed meanwhile are answered and not applied. Returns what could
        not be committed: it heads the next round, and nothing of it is acknowledged.
        """
        dead = _by_kind(pile)
        while True:
            try:
                pile = await self._attributed(pile, ready)
            except EventsKnown as known:
                log.debug("%s", known)
                self._counts.duplicates += len(known.known)
                pile = pile.without_events(known.known)
            except SessionsLost as lost:
                log.warning("%s: what is in hand of them is left to it", lost)
                pile = pile.without(lost.lost)
                if not pile.count:
                    return None
            except Undecided as undecided:
                self._note_outage(str(undecided))
                return undecided.pile
            else:
                for (integration_id, kind), count in (_by_kind(pile) - dead).items():
                    self._counts.rejections.bury(integration_id, kind, count)
                self._held = 0
                self._acknowledge(pile)
                return None
            ready = None

    async def _attributed(self, pile: Pile, ready: Ready | None) -> Pile:
        """Commit it and return it, with what the database refuses as dead letters, or what it cannot write now parked.

        Raises: Undecided, SessionsLost, EventsKnown.
        """
        why = ""
        for _ in range(MAX_ROUNDS):
            try:
                if ready is None:
                    pile = await self._culprits.beforehand(pile)
                await self._commit_with_retries(pile, ready)
            except RowsUnmade as unmade:
                log.warning("%s: what they sent are dead letters", unmade)
                why = str(unmade)
                pile = pile.with_fates(pile.naming(unmade.unmade))
            except FAULTS as fault:
                why = str(fault)
                pile = await self._without_culprits(pile, fault)
            else:
                return pile
            ready = None
        raise Undecided(pile, why)

    async def _without_culprits(self, pile: Pile, fault: Fault) -> Pile:
        self.waits_for = str(fault)
        if self.outage is None:
            log.warning("a commit of %d is refused, looking for the cause: %s", pile.count, fault)
        try:
            if fault.sqlstate == MISSING and (
                gone := await self._applier.integrations_gone(pile.integrations)
            ):
                log.warning("%d integrations were deleted while messages of them were in hand", len(gone))
                return pile.unkept_of(gone)
            return await self._culprits.without(pile, fault)
        except (Refused, DatabaseAway) as error:
            raise Undecided(pile, str(error)) from error

    async def _commit_with_retries(self, pile: Pile, ready: Ready | None = None) -> None:
        attempt = 0
        while True:
            try:
                await self._commit(pile, ready)
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

    async def _commit(self, pile: Pile, ready: Ready | None) -> None:
        for _ in range(MAX_VANISHED):
            if ready is None:
                batch = await self._batches.resolved(pile)
                if time.monotonic() - self._dropped_written_at > DROPPED_EVERY_S:
                    batch.dropped = self._dropped.copy()
                ready = Ready(batch, self._applier)
            began = time.perf_counter()
            gone = await ready.commit()
            if not gone:
                self._observe(pile.count, time.perf_counter() - began)
                self._counts.commits += 1
                self._counts.committed += pile.count
                self._note_dropped(ready.batch)
                self._refusals.heard(ready.batch.devices)
                return
            self._batches.forget(gone)
            ready = None
        raise DatabaseAway("devices vanish while they are being written")

    def _note_dropped(self, batch: Batch) -> None:
        """Count unknown devices that were not kept; into the database once a second, not with each commit."""
        if batch.dropped:
            self._dropped.subtract(batch.dropped)
            self._dropped = +self._dropped
            self._dropped_written_at = time.monotonic()
        self._dropped.update(+batch.turned_away)
        self._counts.rejections.drop_unknown(batch.turned_away)

    def _acknowledge(self, pile: Pile) -> None:
        for part in pile.parts:
            part.settled()
        self._counts.acknowledged += pile.count


def _by_kind(pile: Pile) -> Counter[tuple[UUID, str]]:
    """Count the dead letters of a pile by integration and kind."""
    return Counter((one.integration_id, one.kind) for one in pile.dead_letters)
