"""In flight of a session: the arrivals of one connection between their receipt and their acknowledgement."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from handlers.dialects.plain import Context
from handlers.events import MIN_AT, Micros, Publish
from ingest.mqtt.port import Released
from ingest.pipeline.segment import IntegrationContext
from ingest.sessions.drain import Drain
from ingest.sessions.redeliveries import RedeliveryFilter


class Connection(Protocol):
    """The part of an MQTT connection that is called once a batch is committed, or while there is no room."""

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """Acknowledge these, the oldest ones."""

    def complete(self, released: Sequence[Released]) -> None:
        """Complete these."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""


@dataclass(slots=True, eq=False)
class SessionInflight:
    """One connection of one session: how its arrivals are decoded, and how many of them are in hand."""

    integration: IntegrationContext
    session_id: int
    session_name: str
    """For dead letters: the client id without its unguessable part."""
    decoding: Context
    marker_topic: str
    redeliveries: RedeliveryFilter
    connection: Connection
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
        self.decoding = replace(self.decoding, gap_since=began or MIN_AT)
        self.as_received = replace(self.decoding, liveness=replace(self.decoding.liveness, event_time=False))

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
