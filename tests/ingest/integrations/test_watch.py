"""Following the integrations ends when it is told to, whatever it hears at that moment."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import asyncpg

from ingest.integrations.watch import watch
from ingest.store.config.integrations import ChangeSignal, IntegrationRows


class Overheard(IntegrationRows):
    """The rows, and what was handed out of their news."""

    latest: ChangeSignal | None = None

    @contextlib.asynccontextmanager
    async def news(self) -> AsyncIterator[ChangeSignal]:
        """Listen as ever."""
        async with super().news() as news:
            self.latest = news
            yield news


async def test_a_change_at_the_moment_of_the_end_does_not_keep_it_going(database: str) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        reading.set()

    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        rows = Overheard(pool, database)
        following = asyncio.create_task(watch(rows, read, random.Random(1)))
        await asyncio.wait_for(reading.wait(), 10)
        await asyncio.sleep(0)
        assert rows.latest is not None
        rows.latest.changed.set()
        await asyncio.sleep(0)
        following.cancel()
        done, _ = await asyncio.wait({following}, timeout=5)
        following.cancel()
        await asyncio.wait({following}, timeout=5)
        assert done
