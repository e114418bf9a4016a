"""Pages of a listing in groups: what came while the last group was being stored. A slow provider's come one by one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from handlers.events import Micros
from ingest.mqtt.port import Clock
from ingest.providers.port import Page
from ingest.tasks import background_task

MAX_WAITING = 10


class AskedPage(NamedTuple):
    """A page, and when it was asked for."""

    page: Page
    asked_at: Micros


class Pages:
    """Reads a listing ahead, a few pages at most."""

    def __init__(self, listing: AsyncIterator[Page], clock: Clock) -> None:
        self._listing = listing
        self._clock = clock
        self._waiting: asyncio.Queue[AskedPage | None] = asyncio.Queue(MAX_WAITING)

    async def groups(self) -> AsyncGenerator[list[AskedPage], None]:
        """Yield one or more pages in order, all that came before an error; then raise that."""
        async with background_task(self._read()) as reading:
            ended = False
            while not ended:
                came = [await self._waiting.get()]
                while not self._waiting.empty():
                    came.append(self._waiting.get_nowait())
                ended = came[-1] is None
                group = [one for one in came if one is not None]
                if group:
                    yield group
            await reading

    async def _read(self) -> None:
        """Put the pages into the queue, and None after the last one."""
        try:
            async with contextlib.aclosing(self._listing) as listing:  # type: ignore[type-var]
                asked_at = self._clock()
                async for page in listing:
                    await self._waiting.put(AskedPage(page, asked_at))
                    asked_at = self._clock()
        except Exception:
            await self._waiting.put(None)
            raise
        await self._waiting.put(None)
