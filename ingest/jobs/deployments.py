"""Deployments under way: settled by what devices report, in one replica at a time, for as long as it takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from ingest.errors import Declined, RollcallError
from ingest.jobs.schedule import LeasedSchedule
from ingest.providers.port import Provider
from ingest.store.people.deployments import Pending, Progress

log = logging.getLogger(__name__)

EVERY_S = 10.0
ASKED_AT_ONCE = 20
ASKED_WITHIN_S = 20.0


class Deployments:
    """Looks at each of its turns; what it does is in the rows, so a restart loses nothing."""

    def __init__(
        self, progress: Progress, providers: Callable[[UUID], Awaitable[Provider]], schedule: LeasedSchedule
    ) -> None:
        self._progress = progress
        self._providers = providers
        self._schedule = schedule

    async def run(self) -> None:
        """Look until cancelled."""
        await self._schedule.run(self.look)

    async def look(self) -> None:
        """Settle what can be, and ask providers about some of the rest. Raises: DatabaseAway."""
        await self._progress.end_finished()
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
            await self._progress.record(one, said.status.replace("canceled", "cancelled"), said.detail)
