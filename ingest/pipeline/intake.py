"""The intake: arrivals are decoded as they come, into the open batch that the next commit takes.

While one batch commits the next is being filled; when the database is idle a lone message is committed at once.
"""

import asyncio

from ingest.pipeline.open_batch import Counts, OpenBatch
from ingest.pipeline.segment import Segment

MAX_BATCH = 4_000
MAX_HELD = 32_768
"""Messages in hand over all senders, from when they are decoded until they are committed."""
MAX_HELD_BYTES = 64 << 20
"""Bytes of their payloads and topics."""


class Intake:
    """Where senders put what came and the committer takes it: bounded, in order."""

    def __init__(self, counts: Counts, *, max_batch: int = MAX_BATCH) -> None:
        self._max_batch = max_batch
        self.counts = counts
        self._open = OpenBatch(counts)
        self.held = 0
        """Messages in hand, until they are committed."""
        self.held_bytes = 0
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def add(self, segment: Segment, payload_bytes: int) -> None:
        """Put a segment into the open batch, whether there is room or not: the caller has waited for it."""
        batch = self._open
        batch.payload_bytes += payload_bytes
        self.held += len(segment)
        self.held_bytes += payload_bytes
        batch.add(segment)
        self._filled.set()
        if batch.count >= self._max_batch or batch.payload_bytes >= MAX_HELD_BYTES // 4:
            self._full.set()

    async def take(self) -> OpenBatch:
        """Wait until something is there and return all of it."""
        await self._filled.wait()
        return self._taken()

    def _taken(self) -> OpenBatch:
        batch, self._open = self._open, OpenBatch(self.counts)
        self._filled.clear()
        self._full.clear()
        self._offer_room()
        return batch

    def take_waiting(self) -> OpenBatch | None:
        """Return what is there, without waiting; None where nothing is."""
        if not self._filled.is_set():
            return None
        return self._taken()

    async def take_full(self) -> OpenBatch:
        """Wait until a whole batch is there and return it."""
        await self._full.wait()
        return await self.take()

    def release(self, batch: OpenBatch) -> None:
        """Forget a batch that is committed: there is room for as much again."""
        self.held -= batch.entries_in_hand
        self.held_bytes -= batch.payload_bytes
        self._offer_room()

    @property
    def waiting_since(self) -> float | None:
        """When the oldest entry that no commit has taken yet came (time.monotonic, seconds)."""
        return self._open.since if self._open.segments else None

    @property
    def full(self) -> bool:
        """Whether a sender must wait: there is a whole batch already, or no room at all."""
        return self._full.is_set() or self.exhausted

    @property
    def exhausted(self) -> bool:
        """Whether there is no room at all."""
        return self.held >= MAX_HELD or self.held_bytes >= MAX_HELD_BYTES

    def _offer_room(self) -> None:
        if not self.full:
            self._room.set()

    async def until_room(self) -> None:
        """Wait while it is full."""
        while self.full:
            self._room.clear()
            await self._room.wait()
