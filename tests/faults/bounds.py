"""How much the replicas hold at most: memory and connections to the database, looked at all the time."""

import asyncio
from contextlib import suppress

import asyncpg

from tests.faults.model import Model
from tests.faults.world import REPLICAS, World

MAX_RSS_MIB = 200
MAX_CONNECTIONS = 10 * REPLICAS
"""Six of the pool, one or two that listen, and those that a killed process has left to be noticed."""
EVERY_S = 0.5
OURS = "select count(*) from pg_stat_activity where application_name like 'rollcall%'"


class Bounds:
    """The most that was seen."""

    def __init__(self, world: World, model: Model) -> None:
        self._world = world
        self._model = model
        self.rss_mib = 0.0
        self.connections = 0

    async def watch(self) -> None:
        """Look for ever; the model follows at the same pace."""
        while True:
            self._model.follow()
            for place in self._world.running:
                with suppress(AssertionError, FileNotFoundError, IndexError):
                    self.rss_mib = max(self.rss_mib, self._world.replicas[place].rss_mib())
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                # not wait_for, which in Python 3.11 may swallow the cancellation that ends this
                async with asyncio.timeout(1):
                    await self._count()
            await asyncio.sleep(EVERY_S)

    async def _count(self) -> None:
        administrator = await self._world.administrator()
        try:
            self.connections = max(self.connections, await administrator.fetchval(OURS))
        finally:
            administrator.terminate()

    def check(self) -> None:
        """Raise AssertionError where it was too much."""
        assert self.rss_mib < MAX_RSS_MIB
        assert self.connections <= MAX_CONNECTIONS
