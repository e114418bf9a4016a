"""Live status of devices from their providers, bounded in time and number: one request for all who wait for it."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from handlers.events import Observation
from ingest.api.live_observations import KnownTimes, newer_observations
from ingest.errors import ProviderAway, RollcallError
from ingest.mqtt.port import Clock
from ingest.providers.port import Capabilities, LiveStatus, Provider

AT_ONCE = 16
"""Questions under way to one integration's provider."""
UNDER_WAY = 1_000
KEPT = 10_000
ASKED_WITHIN_S = 15.0
AWAY_S = 5.0
"""A provider that is away is left alone for so long."""

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A provider's answer about a device; without `status`, `error` says why."""

    status: LiveStatus | None = None
    error: str | None = None
    capabilities: Capabilities | None = None


class Subject(NamedTuple):
    """A device as its provider knows it."""

    integration_id: UUID
    external_id: str


class ProviderStatuses:
    """Asks providers, at most once at a time and once in `cache_s` for each device."""

    def __init__(
        self,
        providers: Callable[[UUID], Awaitable[Provider]],
        observe: Callable[[Sequence[Observation]], Awaitable[None]],
        clock: Clock,
        *,
        budget_s: float,
        cache_s: float,
    ) -> None:
        self._providers = providers
        self._observe = observe
        self._clock = clock
        self._budget_s = budget_s
        self._cache_s = cache_s
        self._asking: dict[Subject, asyncio.Task[Answer]] = {}
        self._observing: set[asyncio.Task[None]] = set()
        self._answers: OrderedDict[Subject, tuple[float, Answer]] = OrderedDict()
        self._away: dict[UUID, tuple[float, str]] = {}
        self._slots: dict[UUID, asyncio.Semaphore] = {}

    async def ask(self, subject: Subject, known: KnownTimes) -> Answer:
        """Return the provider's answer, or within the budget why there is none. Never raises."""
        now = asyncio.get_running_loop().time()
        until, answer = self._answers.get(subject, (0.0, Answer()))
        if now < until:
            return answer
        task = self._asking.get(subject)
        if task is None:
            if len(self._asking) >= UNDER_WAY:
                return Answer(error="too many questions are under way: try again")
            task = asyncio.create_task(self._fetch(subject, known), name="live status")
            self._asking[subject] = task
        try:
            async with asyncio.timeout(self._budget_s):
                return await asyncio.shield(task)
        except TimeoutError:
            return Answer(error=f"the provider did not answer within {self._budget_s:g} s")

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [*self._asking.values(), *self._observing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, subject: Subject, known: KnownTimes) -> Answer:
        try:
            answer = await self._request(subject)
            self._cache(subject, answer)
        finally:
            del self._asking[subject]
        if answer.status is not None:
            found = newer_observations(subject.integration_id, known, answer.status.device, self._clock())
            if found:
                observing = asyncio.create_task(self._record(found), name="live observation")
                self._observing.add(observing)
                observing.add_done_callback(self._observing.discard)
        return answer

    async def _request(self, subject: Subject) -> Answer:
        integration_id, external_id = subject
        capabilities: Capabilities | None = None
        try:
            async with asyncio.timeout(ASKED_WITHIN_S), self._slot(integration_id):
                self._refuse_while_away(integration_id)
                provider = await self._providers(integration_id)
                capabilities = provider.capabilities
                if not capabilities.supports_real_time_status:
                    return Answer(
                        None, "the provider cannot be asked: the row is all that is known", capabilities
                    )
                status = await provider.get_device_status(external_id)
        except ProviderAway as error:
            self._note_away(integration_id, error)
            return Answer(None, str(error), capabilities)
        except RollcallError as error:
            return Answer(None, str(error), capabilities)
        except TimeoutError:
            return Answer(None, f"the provider did not answer within {ASKED_WITHIN_S:g} s", capabilities)
        except Exception:
            log.exception("asking about a device failed")
            return Answer(None, "the question failed here; the log says why", capabilities)
        return Answer(status, None, capabilities)

    def _slot(self, integration_id: UUID) -> asyncio.Semaphore:
        return self._slots.setdefault(integration_id, asyncio.Semaphore(AT_ONCE))

    def _refuse_while_away(self, integration_id: UUID) -> None:
        until, reason = self._away.get(integration_id, (0.0, ""))
        if asyncio.get_running_loop().time() < until:
            raise _LeftAloneError(reason)

    def _note_away(self, integration_id: UUID, error: ProviderAway) -> None:
        if not isinstance(error, _LeftAloneError):
            until = asyncio.get_running_loop().time() + max(AWAY_S, min(error.retry_after_s or 0, 60))
            self._away[integration_id] = until, str(error)

    def _cache(self, subject: Subject, answer: Answer) -> None:
        self._answers[subject] = asyncio.get_running_loop().time() + self._cache_s, answer
        self._answers.move_to_end(subject)
        if len(self._answers) > KEPT:
            self._answers.popitem(last=False)

    async def _record(self, found: Sequence[Observation]) -> None:
        try:
            async with asyncio.timeout(ASKED_WITHIN_S):
                await self._observe(found)
        except (RollcallError, TimeoutError) as error:
            log.warning("what a provider told could not be kept, the next reconciliation will: %s", error)


class _LeftAloneError(ProviderAway):
    """Not asked: the provider was away a moment ago."""
