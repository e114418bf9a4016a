"""What came in and was not fetched yet, and why no more will come."""

import asyncio

from ingest.errors import BrokerAway
from ingest.mqtt.port import Inbound


class Inbox:
    """The connection appends to `items` and calls `wake`; one reader awaits `take`."""

    __slots__ = ("_waiter", "ended", "items")

    def __init__(self) -> None:
        self.items: list[Inbound] = []
        self.ended: BrokerAway | None = None
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the reader, once for all that was appended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, reason: BrokerAway) -> None:
        """Nothing more comes; the first reason stays."""
        if self.ended is None:
            self.ended = reason
            self.wake()

    async def take(self) -> list[Inbound]:
        """Return everything that waits, at least one.

        Raises: BrokerAway once the connection has ended and everything was handed out.
        """
        while not self.items:
            if self.ended is not None:
                raise self.ended.with_traceback(None)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken, self.items = self.items, []
        return taken
