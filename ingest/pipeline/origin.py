"""Where publishes come from: a connection of an MQTT session, what of it is in hand, whether its backlog is drained."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from handlers.dialects.plain import Context
from handlers.events import MIN_AT, Micros, Publish
from ingest.mqtt.port import Inbound, Released
from ingest.pipeline.drain import Drain
from ingest.pipeline.pile import Feed


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
    session_name: str
    """For dead letters: the client id without its unguessable part."""
    context: Context
    marker_topic: str
    digests: Judge
    connection: Connection
    epoch: int | None = 0
    """Of the session when it was taken up; None where several processes share it."""
    drain: Drain | None = None
    """Set while the session's backlog is drained: until all that waited for this connection was heard."""
    pending: int = 0
    """Handed over and not yet acknowledged."""
    arrived: int = 0
    """Handed over in all."""
    heard_until: Micros = 0
    """The time of the newest marker of this connection that is committed."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is in hand."""
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a marker or quiet has shown that all that waited for this connection was heard and is committed."""
    as_received: Context = field(init=False)
    """The context for devices whose own times do not date their presence."""

    def __post_init__(self) -> None:
        """Begin with nothing in hand."""
        self.idle.set()
        self.gap_since(None)

    def gap_since(self, began: Micros | None) -> None:
        """Date retained offline words: they count as of the beginning of the gap in hearing; None: there is none."""
        self.context = replace(self.context, gap_since=began or MIN_AT)
        self.as_received = replace(self.context, liveness=replace(self.context.liveness, event_time=False))

    def drained(self) -> None:
        """Note that all of the backlog was heard: from now on what is said counts as of when it comes."""
        self.drain = None
        self.caught_up.set()

    def entered(self, count: int) -> None:
        """Count what was handed over."""
        self.pending += count
        self.arrived += count
        self.idle.clear()

    def left(self, count: int) -> None:
        """Count what was committed and acknowledged, or dropped."""
        self.pending -= count
        if self.pending == 0:
            self.idle.set()
