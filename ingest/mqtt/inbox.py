"""Inbox of a connection: packets not fetched yet, and why no more will come. When it is full the wire is not read."""

import asyncio
from collections.abc import Callable

from ingest.errors import BrokerAway
from ingest.mqtt.port import Inbound

BRIM = 8_000
"""Messages."""
BRIM_BYTES = 8 << 20
"""Bytes as they came over the network."""


class Inbox:
    """The connection appends to `items` and calls `wake`; one reader awaits `take`. `hold` stops and starts reading."""

    __slots__ = ("_bytes", "_hold", "_taking", "_waiter", "ended", "items", "seen")

    def __init__(self, hold: Callable[[bool], None]) -> None:
        self._hold = hold
        self._bytes = 0
        self.seen = 0
        """Bytes that have come in all."""
        self._taking = False
        self.items: list[Inbound] = []
        self.ended: BrokerAway | None = None
        self._waiter: asyncio.Future[None] | None = None

    def wake(self, size: int = 0) -> None:
        """Wake the reader, once for all that was appended: `size` bytes."""
        self._bytes += size
        self.seen += size
        # Not before the first `take`: until then the SUBACK is awaited, which comes behind a session's backlog.
        if self._taking and self.items and (len(self.items) >= BRIM or self._bytes >= BRIM_BYTES):
            self._hold(True)
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
        self._taking = True
        while not self.items:
            if self.ended is not None:
                raise self.ended.with_traceback(None)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken, self.items, self._bytes = self.items, [], 0
        self._hold(False)
        return taken
