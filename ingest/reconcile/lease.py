"""Work that only one process may do at a time: done while a lease is held, renewed, and given back."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ingest.errors import RollcallError, RunUnderWay
from ingest.reconcile.runs import RunLost
from ingest.store.commit.sessions import Sessions

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Lease:
    """One name in rollcall.leases."""

    def __init__(self, sessions: Sessions, name: str, holder: str, ttl_s: float) -> None:
        self._sessions = sessions
        self._name = name
        self._holder = holder
        self._ttl_s = ttl_s

    async def held(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do `work` under the lease; it is cancelled when the lease is lost.

        Raises: RunUnderWay where another holds it, RunLost, DatabaseAway, and what `work` raises.
        """
        if not await self._sessions.lease(self._name, self._holder, self._ttl_s):
            raise RunUnderWay("a run of this integration is under way: try again when it has ended")
        renewing = asyncio.create_task(self._renew())
        working = asyncio.ensure_future(work())
        try:
            await asyncio.wait({renewing, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise RunLost("the lease went to another process")
            return working.result()
        finally:
            for task in (renewing, working):
                task.cancel()
            try:
                await asyncio.gather(renewing, working, return_exceptions=True)
            finally:
                with contextlib.suppress(RollcallError):  # it expires by itself
                    await self._sessions.release(self._name, self._holder)

    async def _renew(self) -> None:
        """Renew until the lease is lost. While the database is away nobody else can take it either."""
        while True:
            await asyncio.sleep(self._ttl_s / 3)
            try:
                if not await self._sessions.lease(self._name, self._holder, self._ttl_s):
                    return
            except RollcallError as error:
                log.warning("the lease %s cannot be renewed: %s", self._name, error)
