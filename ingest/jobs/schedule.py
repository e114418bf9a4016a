"""A leased schedule: periodic work that one of all replicas does at a time; an orderly stop gives the lease back."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ingest.errors import RollcallError
from ingest.store.commit.sessions import Sessions

SPREAD = 0.2
"""Work is due earlier or later by up to this share, so that replicas do not ask for the lease all at once."""
RELEASED_WITHIN_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeasedSchedule:
    """A period and a lease: work is due every `every_s`, in the replica that takes `lease` for `ttl_s`."""

    sessions: Sessions
    lease: str
    holder: str
    jitter: random.Random
    every_s: float
    ttl_s: float

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` each time it is due, until cancelled; while the database is away it is skipped.

        Raises: what `work` raises, but no RollcallError.
        """
        try:
            while True:
                await asyncio.sleep(self.every_s * self.jitter.uniform(1 - SPREAD, 1 + SPREAD))
                try:
                    if await self.sessions.lease(self.lease, self.holder, self.ttl_s):
                        await work()
                except RollcallError as error:
                    log.warning("%s is skipped this time: %s", self.lease, error)
        finally:
            with contextlib.suppress(RollcallError, TimeoutError):  # it expires by itself
                async with asyncio.timeout(RELEASED_WITHIN_S):
                    await self.sessions.release(self.lease, self.holder)
