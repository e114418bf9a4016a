"""Consumers of filters that are read no more: what waits in them is still read, then they are removed.

Left alone, one would hold the stream's messages for as long as it lives, and what came before the change would be lost.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from nats.js.errors import NotFoundError

from ingest.jetstream.consumers import Consumers, Durable

LOOK_EVERY_S = 2.0


class Former:
    """The former consumers of one connection; `pull` reads one until it is cancelled."""

    def __init__(self, consumers: Consumers, pull: Callable[[Durable], Coroutine[Any, Any, None]]) -> None:
        self._consumers = consumers
        self._pull = pull
        self.left: list[Durable] = []
        """Those that are not read to their end yet."""

    async def drain(self, durable: Durable, end: int) -> None:
        """Read what came up to the message `end` of the stream, then remove the consumer. Raises: BrokerAway."""
        self.left.append(durable)
        pulling = asyncio.create_task(self._pull(durable))
        try:
            while True:
                if await self._consumers.is_read_to(durable, end):
                    await self._consumers.remove(durable)
                    break
                await asyncio.sleep(LOOK_EVERY_S)
        except NotFoundError:  # another replica was faster
            pass
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
        self.left.remove(durable)
