"""From the events of one webhook to their results: claimed by id, let into a batch, waited for until the commit."""

import asyncio
import random
from collections.abc import Callable, Sequence
from uuid import UUID

from handlers.webhooks.delivery import Event, Request
from ingest.pipeline.intake import Intake
from ingest.problems import Problem
from ingest.webhooks.claims import Claimed, Claims
from ingest.webhooks.deadlines import Deadlines
from ingest.webhooks.hooks import Hook
from ingest.webhooks.segment import DUPLICATE, Arrival, Result, WebhookSegment

ANSWER_WITHIN_S = 10.0
"""How long a request waits for room in a batch and its commit; Amazon SNS gives up after 15 s."""
AWAY = "the database cannot be written now: send the events again"


class Submissions:
    """Hands events over, and answers once they are committed. `outage` says why the database cannot be written now."""

    def __init__(
        self, intake: Intake, claims: Claims, outage: Callable[[], str | None], jitter: random.Random
    ) -> None:
        self._intake = intake
        self._claims = claims
        self._outage = outage
        self._jitter = jitter
        self._deadlines = Deadlines()

    async def results(self, hook: Hook, request: Request, events: Sequence[Event]) -> list[Result]:
        """Return a result for each event, once all of them are committed.

        Raises: Problem when it takes too long (what was taken in is committed all the same), DatabaseAway.
        """
        due = asyncio.get_running_loop().time() + ANSWER_WITHIN_S
        try:
            return await self._deliver(hook, request, events, due)
        except TimeoutError:
            raise self.busy("the events are not committed yet: send them again") from None

    async def _deliver(
        self, hook: Hook, request: Request, events: Sequence[Event], due: float
    ) -> list[Result]:
        loop = asyncio.get_running_loop()
        committed, answered = loop.create_future(), loop.create_future()
        fresh, others, awaited = await self._let_in(hook.id, events, committed, due)
        wanted = [event for event, is_fresh in zip(events, fresh, strict=True) if is_fresh]
        self._intake.counts.duplicates += len(events) - len(wanted)
        arrival = Arrival(
            hook.integration,
            hook.topic,
            request.headers,
            hook.authenticator.secret_headers,
            request.received_at,
            committed,
            answered,
        )
        if wanted:
            self._intake.add(WebhookSegment(arrival, wanted), len(request.body))
            await self._deadlines.wait(answered, due)
        else:
            committed.set_result(None)
        if others:
            async with asyncio.timeout_at(due):
                await asyncio.wait(others)
                applied = await self._claims.are_applied(hook.id, awaited)
            if not applied:
                raise self.busy("an event that another request brought is not applied: send it again")
        return _in_order(events, fresh, [arrival.results[place] for place in range(len(wanted))])

    async def _let_in(
        self, integration_id: UUID, events: Sequence[Event], committed: asyncio.Future[None], due: float
    ) -> Claimed:
        """Claim the ids of the events and wait for room. Raises: Problem, TimeoutError, DatabaseAway."""
        self.check_room()
        if not self._intake.full and all(event.id is None for event in events):
            return Claimed([True] * len(events), set(), set())
        try:
            async with asyncio.timeout_at(due):
                claimed = await self._claims.claim(integration_id, events, committed)
                self.check_room()
                await self._intake.until_room()
        except BaseException:
            committed.cancel()
            raise
        return claimed

    def check_room(self) -> None:
        """Refuse at once what cannot be committed now. Raises: Problem."""
        if self._outage() is not None:
            raise self.busy(AWAY)
        if self._intake.exhausted:
            raise self.busy("too many events wait to be committed: send these again")

    def busy(self, detail: str) -> Problem:
        """Return a 503 that asks to come again in some seconds, not all senders in the same."""
        return Problem(503, detail, {"retry-after": str(self._jitter.randint(2, 6))})


def _in_order(events: Sequence[Event], fresh: Sequence[bool], results: Sequence[Result]) -> list[Result]:
    """Return the result of each event, of which `results` are those of the fresh ones.

    A second event of the same id in the request is a duplicate, but where the first is dead it is dead, too.
    """
    told: list[Result] = []
    dead: dict[str, Result] = {}
    remaining = iter(results)
    for event, is_fresh in zip(events, fresh, strict=True):
        result = next(remaining) if is_fresh else dead.get(event.id or "", DUPLICATE)
        if event.id is not None and result.outcome == "dead":
            dead[event.id] = result
        told.append(result)
    return told
