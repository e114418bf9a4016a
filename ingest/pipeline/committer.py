"""The committer: the process's only writer. Takes what waits, commits it, and only then acknowledges it, in order."""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from handlers.events import DeadReason
from ingest.errors import DatabaseAway, EventsKnown, Refused, SessionsLost
from ingest.pipeline.batches import Batches
from ingest.pipeline.intake import Intake
from ingest.pipeline.pile import Counts, Pile
from ingest.pipeline.ready import Ready
from ingest.pipeline.refusals import Refusals
from ingest.store.apply import Applier
from ingest.store.refusals import Contended

MAX_VANISHED = 5
"""Tries of one pile while devices of it are being deleted by others."""

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
        self._refusals = Refusals()
        self.outage: str | None = None
        """Why the database cannot be written now; None while all is well."""

    async def run(self) -> None:
        """Take, commit, acknowledge, for ever. A pile that fills up meanwhile is made ready while the last commits."""
        following: tuple[Pile, Ready | None] | None = None
        try:
            while True:
                pile, ready = following or (await self._intake.take(), None)
                committing = asyncio.create_task(self._settle(pile, ready))
                try:
                    following = await self._made_ready_beside(committing, ready)
                    await committing
                finally:
                    committing.cancel()
                self._intake.release(pile)
        finally:
            if following is not None and following[1] is not None:
                following[1].cancel()

    async def _made_ready_beside(
        self, committing: asyncio.Task[None], before: Ready | None
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

    async def _settle(self, pile: Pile, ready: Ready | None = None) -> None:
        """Commit and acknowledge it, but what came by sessions that another process has taken up since.

        Webhook events that another process has committed meanwhile are answered and not applied.
        """
        try:
            await self._settle_ours(pile, ready)
        except EventsKnown as known:
            log.debug("%s", known)
            self._counts.duplicates += len(known.known)
            await self._settle(pile.without_events(known.known))
        except SessionsLost as lost:
            log.warning("%s: what is in hand of them is left to it", lost)
            kept = pile.without(lost.lost)
            if kept.count:
                await self._settle(kept)

    async def _settle_ours(self, pile: Pile, ready: Ready | None) -> None:
        """Commit it, split down to the entries that the database refuses, and acknowledge."""
        try:
            await self._commit_with_retries(pile, ready)
        except Refused as refused:
            if pile.count > 1:
                for half in pile.split():
                    await self._settle(half)
                return
            await self._bury(pile, refused)
        else:
            self._refusals.accepted(pile.count)
            self._acknowledge(pile)

    async def _bury(self, pile: Pile, refused: Refused) -> None:
        while self._refusals.too_many(refused.sqlstate):
            self.outage = f"more than 1 % of the messages are refused for one reason: {refused}"
            await self._pause(5.0)
            try:
                await self._commit_with_retries(pile)
            except Refused as again:
                refused = again
            else:
                self._refusals.accepted(1)
                self._acknowledge(pile)
                return
        self._refusals.refused(refused.sqlstate)
        buried = pile.buried(DeadReason(f"refused.{refused.sqlstate}", str(refused)[:300]))
        self._counts.dead_letters += 1
        await self._commit_buried(buried)
        self._acknowledge(buried)

    async def _commit_buried(self, buried: Pile) -> None:
        """Commit it as an outage that lasts until it can be, where the database refuses the dead letter, too."""
        while True:
            try:
                await self._commit_with_retries(buried)
                return
            except Refused as refused:
                self.outage = f"a dead letter is refused: {refused}"
                log.error("%s", self.outage)
            await self._pause(5.0)

    async def _commit_with_retries(self, pile: Pile, ready: Ready | None = None) -> None:
        attempt = 0
        while True:
            try:
                await self._commit(pile, ready)
            except Contended:
                await self._pause(0.05)
            except DatabaseAway as away:
                attempt += 1
                if self.outage is None:
                    log.error("the database is away, nothing is acknowledged: %s", away)
                self.outage = str(away)
                await self._pause(min(5.0, 0.1 * 2 ** min(attempt, 6)))
            else:
                if self.outage is not None:
                    log.warning("the database is back")
                self.outage = None
                return

    async def _pause(self, cap_s: float) -> None:
        await asyncio.sleep(self._jitter.uniform(0, cap_s))

    async def _commit(self, pile: Pile, ready: Ready | None) -> None:
        for _ in range(MAX_VANISHED):
            if ready is None:
                ready = Ready(await self._batches.resolved(pile), self._applier)
            began = time.perf_counter()
            gone = await ready.commit()
            if not gone:
                self._observe(pile.count, time.perf_counter() - began)
                self._counts.commits += 1
                self._counts.committed += pile.count
                self._counts.dropped_unknown += ready.batch.turned_away
                return
            self._batches.forget(gone)
            ready = None
        raise DatabaseAway("devices vanish while they are being written")

    def _acknowledge(self, pile: Pile) -> None:
        for part in pile.parts:
            part.settled()
        self._counts.acknowledged += pile.count
