"""Deployments under way: settled by what devices report, in one replica at a time, for as long as it takes."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

from ingest.errors import Declined, RollcallError
from ingest.providers.port import Provider
from ingest.store.deployments import Pending, Progress
from ingest.store.sessions import Sessions

log = logging.getLogger(__name__)

EVERY_S = 10.0
ASKED_AT_ONCE = 20
ASKED_WITHIN_S = 20.0
LEASE = "deployments"


class Deployments:
    """Runs while it holds the lease; what it does is in the rows, so a restart loses nothing."""

    def __init__(
        self,
        progress: Progress,
        sessions: Sessions,
        providers: Callable[[UUID], Awaitable[Provider]],
        holder: str,
        jitter: random.Random,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._progress = progress
        self._sessions = sessions
        self._providers = providers
        self._holder = holder
        self._jitter = jitter
        self._every_s = every_s

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._every_s * self._jitter.uniform(0.8, 1.2))
            try:
                if await self._sessions.lease(LEASE, self._holder, self._every_s * 6):
                    await self.look()
            except RollcallError as error:
                log.warning("deployments are not looked at: %s", error)

    async def look(self) -> None:
        """Settle what can be, and ask providers about some of the rest. Raises: DatabaseAway."""
        await self._progress.settle()
        pending = await self._progress.pending(ASKED_AT_ONCE)
        await asyncio.gather(*(self._ask(one) for one in pending))

    async def _ask(self, one: Pending) -> None:
        try:
            async with asyncio.timeout(ASKED_WITHIN_S):
                provider = await self._providers(one.integration_id)
                if not provider.capabilities.supports_deployment_progress:
                    return
                said = await provider.get_progress(one.external_id, one.provider_id)
        except (Declined, TimeoutError) as error:
            log.info("deployment %s: %s", one.id, error or "its provider did not answer")
            return
        except RollcallError as error:
            log.warning("deployment %s: its provider cannot be asked: %s", one.id, error)
            return
        if said.status != "queued":
            await self._progress.moved(one, said.status.replace("canceled", "cancelled"), said.detail)
