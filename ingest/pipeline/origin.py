"""Where publishes come from: a connection of an MQTT session, what of it is in hand, whether its backlog is drained."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.dialects.plain import Context
from handlers.events import DeviceKey, Micros, Observation, Presence, Publish
from ingest.mqtt.port import Inbound, Released
from ingest.pipeline.pile import Feed

MAX_GONE = 100_000


class Connection(Protocol):
    """The part of an MQTT connection that the pipeline calls."""

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """Acknowledge these, the oldest ones."""

    def complete(self, released: Sequence[Released]) -> None:
        """Complete these."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""


class Judge(Protocol):
    """What says which arrivals are to be applied: digests, or nothing where a redelivery is the same observation."""

    seq: int

    def judged(self, inbounds: Iterable[Inbound], marker_topic: str) -> list[bytes | None]:
        """Return a digest for each that is to be applied, b"" where none is stored, None for anything else."""

    def committed(self, inbounds: Iterable[Inbound], digests: Iterable[bytes | None]) -> None:
        """Remember these."""

    def release(self, packet_id: int) -> None:
        """Forget a QoS 2 packet id."""


@dataclass(slots=True, eq=False)
class Origin:
    """One connection of one MQTT session."""

    feed: Feed
    session_id: int
    client_id: str
    context: Context
    marker_topic: str
    digests: Judge
    connection: Connection
    epoch: int | None = 0
    """Of the session when it was taken up; None where several processes share it."""
    draining_since: Micros | None = None
    """heard_until of the session while its backlog is drained: until the first marker of this connection came back."""
    gone: set[DeviceKey] = field(default_factory=set)
    """Devices that said in this backlog, without a time, that they go."""
    pending: int = 0
    """Handed over and not yet acknowledged."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in hand."""
    marked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a marker of this connection has come back and is committed."""

    def __post_init__(self) -> None:
        """Begin with nothing in hand."""
        self.idle.set()

    def note_gone(self, observations: Iterable[Observation]) -> None:
        """Keep who said that it goes, as of when that was read."""
        for one in observations:
            said_now = (
                one.presence is Presence.OFFLINE and not one.snapshot and one.seen_at == one.received_at
            )
            if said_now and len(self.gone) < MAX_GONE:
                self.gone.add(one.device)

    def drained(self) -> None:
        """Note that all of the backlog was heard: from now on what is said counts as of when it comes."""
        self.draining_since = None
        self.gone.clear()

    def entered(self, count: int) -> None:
        """Count what was handed over."""
        self.pending += count
        self.idle.clear()

    def left(self, count: int) -> None:
        """Count what was committed and acknowledged, or dropped."""
        self.pending -= count
        if self.pending == 0:
            self.idle.set()
