"""The intake: messages are decoded as they come into the pile that the next commit takes.

While one batch commits the next is being decoded; when the database is idle a lone message is committed at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID, uuid4

from handlers.dialects.plain import Context, decode
from handlers.events import Decoded, Micros, Observation, Publish
from ingest.digests import Digests, digest
from ingest.mqtt.port import Inbound, Released
from ingest.store.batch import DeadLetter
from ingest.store.identity import UnknownPolicy

MAX_BATCH = 4_000
MAX_WAITING_BYTES = 32 << 20
"""Payload bytes that wait; as many again may be committing."""


class Acknowledger(Protocol):
    """The part of a connection that a commit calls."""

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """Acknowledge these, the oldest ones."""

    def complete(self, released: Sequence[Released]) -> None:
        """Complete these."""


@dataclass(slots=True, eq=False)
class Origin:
    """One connection of one MQTT session, as the pipeline sees it."""

    integration_id: UUID
    session_id: int
    client_id: str
    context: Context
    policy: UnknownPolicy
    offline_after: Micros
    marker_topic: str
    digests: Digests
    connection: Acknowledger
    draining_since: Micros | None = None
    """heard_until of the session while its backlog is drained: until the first marker of this connection came back."""
    pending: int = 0
    """Handed over and not yet acknowledged."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def entered(self, count: int) -> None:
        """Count what was handed over."""
        self.pending += count
        self.idle.clear()

    def settled(self, count: int) -> None:
        """Count what was committed and acknowledged."""
        self.pending -= count
        if self.pending == 0:
            self.idle.set()


@dataclass(slots=True)
class Item:
    """One thing that came in, and what it means."""

    origin: Origin
    inbound: Inbound
    observations: tuple[Observation, ...] = ()
    dead: DeadLetter | None = None
    marker: Micros | None = None
    digest: int | None = None
    """Of a publish that is applied: what recognises its redelivery."""


@dataclass(slots=True)
class Counts:
    """What a process did since it started; monotonic."""

    received: int = 0
    committed: int = 0
    commits: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    field_errors: int = 0
    skewed: int = 0
    dropped_unknown: int = 0


class Intake:
    """Where connections put what came and the committer takes it: bounded, in order."""

    def __init__(self, counts: Counts, *, max_batch: int = MAX_BATCH) -> None:
        self._max_batch = max_batch
        self._counts = counts
        self._items: list[Item] = []
        self._bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, origin: Origin, inbounds: Sequence[Inbound]) -> None:
        """Decode and queue; waits while the next batch is full."""
        origin.entered(len(inbounds))
        for start in range(0, len(inbounds), 500):
            while self.full:
                self._room.clear()
                await self._room.wait()
            for inbound in inbounds[start : start + 500]:
                self._items.append(self._item(origin, inbound))
                self._bytes += len(inbound.payload) if isinstance(inbound, Publish) else 0
            self._filled.set()
            await asyncio.sleep(0)

    async def take(self) -> list[Item]:
        """Wait until something is there and return all of it."""
        await self._filled.wait()
        items, self._items, self._bytes = self._items, [], 0
        self._filled.clear()
        self._room.set()
        return items

    @property
    def full(self) -> bool:
        """Whether `put` would wait: the sign to stop reading."""
        return len(self._items) >= self._max_batch or self._bytes >= MAX_WAITING_BYTES

    def _item(self, origin: Origin, inbound: Inbound) -> Item:
        self._counts.received += 1
        if isinstance(inbound, Released):
            return Item(origin, inbound)
        if inbound.topic == origin.marker_topic:
            return Item(origin, inbound, marker=_marker(inbound.payload))
        if origin.digests.is_duplicate(inbound):
            self._counts.duplicates += 1
            return Item(origin, inbound)
        value = digest(inbound) if inbound.qos else None
        decoded = decode(inbound, origin.context, origin.draining_since)
        self._counts.field_errors += len(decoded.field_errors)
        self._counts.skewed += decoded.skewed
        if decoded.dead is not None:
            self._counts.dead_letters += 1
            return Item(origin, inbound, dead=dead_letter(origin, inbound, decoded), digest=value)
        return Item(origin, inbound, decoded.observations, digest=value)


def dead_letter(origin: Origin, publish: Publish, decoded: Decoded) -> DeadLetter:
    """Return the row that keeps what could not be decoded or was refused."""
    assert decoded.dead is not None
    return DeadLetter(
        uuid4(),
        origin.integration_id,
        origin.client_id,
        publish.topic.replace("\0", "\ufffd"),
        publish.qos,
        publish.retain,
        publish.content_type,
        publish.received_at,
        decoded.dead.kind,
        decoded.dead.error,
        publish.payload,
        publish.size > len(publish.payload),
    )


def _marker(payload: bytes) -> Micros | None:
    try:
        return int(payload)
    except ValueError:
        return None
