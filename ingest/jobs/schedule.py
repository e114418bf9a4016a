"""Work that is done now and then, by one of all replicas: each turn under a lease, which an orderly stop gives back."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ingest.errors import RollcallError
from ingest.store.commit.sessions import Sessions

SPREAD = 0.2
"""A turn comes earlier or later by up to this share, so that replicas do not ask for the lease all at once."""
RELEASED_WITHIN_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turns:
    """When a piece of work has its turn: every `every_s`, in the replica that holds `lease` for `ttl_s`."""

    sessions: Sessions
    lease: str
    holder: str
    jitter: random.Random
    every_s: float
    ttl_s: float

    async def take(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` at each of our turns, for ever; where the database is away a turn is skipped.

        Raises: what `work` raises, but no RollcallError.
        """
        try:
            while True:
                await asyncio.sleep(self.every_s * self.jitter.uniform(1 - SPREAD, 1 + SPREAD))
                try:
                    if await self.sessions.lease(self.lease, self.holder, self.ttl_s):
                        await work()
                except RollcallError as error:
                    log.warning("a turn of %s is skipped: %s", self.lease, error)
        finally:
            with contextlib.suppress(RollcallError, TimeoutError):  # it expires by itself
                async with asyncio.timeout(RELEASED_WITHIN_S):
                    await self.sessions.release(self.lease, self.holder)
