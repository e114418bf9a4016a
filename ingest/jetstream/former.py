"""Consumers of filters that are read no more: what waits in them is still read, then they are removed.

Left alone, one would hold the stream's messages for as long as it lives, and what came before the change would be lost.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from nats.js.errors import NotFoundError

from ingest.jetstream.consumers import Consumers, Durable
from ingest.tasks import background_task

LOOK_EVERY_S = 2.0
KEPT_S = 90.0
"""Longer than a replica may still work with the settings of before (ingest/integrations/catalog.py, REREAD_S)."""


class Former:
    """The former consumers of one connection; `pull` reads one until it is cancelled."""

    def __init__(self, consumers: Consumers, pull: Callable[[Durable], Coroutine[Any, Any, None]]) -> None:
        self._consumers = consumers
        self._pull = pull
        self.left: list[Durable] = []
        """Those that are not read to their end yet."""

    async def drain(self, durable: Durable, end: int) -> None:
        """Read what came up to the message `end` of the stream; later remove the consumer. Raises: BrokerAway."""
        with contextlib.suppress(NotFoundError):  # another replica was faster
            self.left.append(durable)
            try:
                await self._read_to(durable, end)
            finally:
                self.left.remove(durable)
            await asyncio.sleep(KEPT_S)
            await self._consumers.remove(durable)

    async def _read_to(self, durable: Durable, end: int) -> None:
        async with background_task(self._pull(durable)):
            while True:
                if await self._consumers.is_read_to(durable, end):
                    return
                await asyncio.sleep(LOOK_EVERY_S)
