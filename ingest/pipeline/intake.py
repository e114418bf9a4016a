"""The intake: what comes is decoded as it comes, into the pile that the next commit takes.

While one pile commits the next is being filled; when the database is idle a lone message is committed at once.
"""

import asyncio
from collections.abc import Iterator, Sequence

from handlers.events import Publish
from ingest.mqtt.port import Inbound
from ingest.pipeline.origin import Origin
from ingest.pipeline.pile import Counts, Part, Pile
from ingest.pipeline.publishes import Publishes

MAX_BATCH = 4_000
MAX_HELD = 32_768
"""Messages in hand over all senders, from when they are decoded until they are committed."""
MAX_HELD_BYTES = 64 << 20
"""Bytes of their payloads and topics."""
PORTION = 500
"""Messages that are decoded before the event loop runs again."""
PORTION_BYTES = 256 << 10
"""Their payloads and topics: decoding so much takes some ten milliseconds."""
QOS0_PATIENCE_S = 1.0
"""How long QoS 0 messages wait for room before they are dropped and counted."""


class Intake:
    """Where senders put what came and the committer takes it: bounded, in order."""

    def __init__(self, counts: Counts, *, max_batch: int = MAX_BATCH) -> None:
        self._max_batch = max_batch
        self.counts = counts
        self._pile = Pile(counts)
        self.held = 0
        """Messages in hand, until they are committed."""
        self.held_bytes = 0
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, origin: Origin, inbounds: Sequence[Inbound]) -> None:
        """Decode and queue; while there is no room the connection is not read and this waits.

        Cancelled, it gives back what it has not queued: that is not acknowledged and will come again.
        """
        origin.entered(len(inbounds))
        waiting = len(inbounds)
        try:
            for portion, size in portions(inbounds):
                kept = await self._wait_for_room(origin, portion) if self.full else portion
                waiting -= len(portion)
                origin.left(len(portion) - len(kept))
                if kept:
                    self.add(Publishes(origin, kept), size if kept is portion else size_of(kept))
                await asyncio.sleep(0)
        finally:
            origin.left(waiting)

    def add(self, part: Part, payload_bytes: int) -> None:
        """Put a part into the open pile; asks for no room."""
        pile = self._pile
        pile.payload_bytes += payload_bytes
        self.held += len(part)
        self.held_bytes += payload_bytes
        pile.add(part)
        self._filled.set()
        if pile.count >= self._max_batch or pile.payload_bytes >= MAX_HELD_BYTES // 4:
            self._full.set()

    async def take(self) -> Pile:
        """Wait until something is there and return all of it."""
        await self._filled.wait()
        return self._taken()

    def _taken(self) -> Pile:
        pile, self._pile = self._pile, Pile(self.counts)
        self._filled.clear()
        self._full.clear()
        self._offer_room()
        return pile

    def take_waiting(self) -> Pile | None:
        """Return what is there, without waiting; None where nothing is."""
        if not self._filled.is_set():
            return None
        return self._taken()

    async def take_full(self) -> Pile:
        """Wait until a whole batch is there and return it."""
        await self._full.wait()
        return await self.take()

    def release(self, pile: Pile) -> None:
        """Forget a pile that is committed: there is room for as much again."""
        self.held -= pile.entries_in_hand
        self.held_bytes -= pile.payload_bytes
        self._offer_room()

    @property
    def waiting_since(self) -> float | None:
        """When the oldest entry that no commit has taken yet came (time.monotonic, seconds)."""
        return self._pile.since if self._pile.parts else None

    @property
    def full(self) -> bool:
        """Whether `put` would wait: there is a whole batch already, or no room at all."""
        return self._full.is_set() or self.exhausted

    @property
    def exhausted(self) -> bool:
        """Whether there is no room at all."""
        return self.held >= MAX_HELD or self.held_bytes >= MAX_HELD_BYTES

    def _offer_room(self) -> None:
        if not self.full:
            self._room.set()

    async def _wait_for_room(self, origin: Origin, portion: Sequence[Inbound]) -> Sequence[Inbound]:
        """Wait with the connection paused; returns what is left: QoS 0 does not wait longer than its patience."""
        origin.connection.pause()
        try:
            async with asyncio.timeout(QOS0_PATIENCE_S):
                await self.until_room()
        except TimeoutError:
            kept = [one for one in portion if not isinstance(one, Publish) or one.qos]
            self.counts.dropped_qos0 += len(portion) - len(kept)
            portion = kept
            await self.until_room()
        finally:
            origin.connection.resume()
        return portion

    async def until_room(self) -> None:
        """Wait while it is full."""
        while self.full:
            self._room.clear()
            await self._room.wait()


def portions(inbounds: Sequence[Inbound]) -> Iterator[tuple[Sequence[Inbound], int]]:
    """Cut what came, each with its bytes: at most PORTION messages and PORTION_BYTES, though one may have more."""
    for start in range(0, len(inbounds), PORTION):
        some = inbounds[start : start + PORTION]
        size = size_of(some)
        if size <= PORTION_BYTES:
            yield some, size
            continue
        step = max(1, len(some) // (1 + size // PORTION_BYTES))
        for first in range(0, len(some), step):
            yield some[first : first + step], size_of(some[first : first + step])


def size_of(inbounds: Sequence[Inbound]) -> int:
    """Return the bytes of their payloads and topics."""
    return sum([len(one.payload) + len(one.topic) for one in inbounds if isinstance(one, Publish)])
