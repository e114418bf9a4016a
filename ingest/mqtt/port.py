"""The port: what the service asks of an MQTT connection, whichever library speaks it.

An adapter delivers PUBLISHes in the order in which they came and acknowledges only when told. It never answers a QoS 1
PUBLISH (PUBACK) or a QoS 2 one (PUBREC) by itself. One instance is one network connection; reconnecting is
the caller's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.events import Micros, Publish
from ingest.egress.files import Files
from ingest.egress.gate import Egress


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the broker: PEM texts, or names of files, which win. Without a CA the system's store decides."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_host: bool = True
    ca: str | None = None
    cert: str | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter. On MQTT 5: retain handling 1, retain-as-published 0."""

    topic_filter: str
    qos: int = 1


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how to connect. Times in seconds, sizes in bytes."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    clean_start: bool = False
    session_expiry_s: int = 86_400
    keep_alive_s: int = 30
    receive_maximum: int = 16_384
    max_payload: int = 1 << 20
    connect_timeout_s: float = 10.0
    egress: Egress = field(default_factory=Egress, repr=False)
    """Where the connection may go. By default everywhere: who makes a broker of a row says where."""
    files: Files = field(default_factory=lambda: Files("/"), repr=False, compare=False)
    """What reads the files that `tls` names."""


@dataclass(frozen=True, slots=True)
class Connected:
    """What the broker said. `session_present` False where a session should have been means messages may be missing."""

    session_present: bool
    protocol: str
    """'5' or '3.1.1'"""
    shares: bool = True
    """False where the broker says that it has no shared subscriptions; MQTT 3.1.1 has no words for it."""


@dataclass(frozen=True, slots=True)
class Granted:
    """SUBACK for one filter: the granted QoS, or the reason why not."""

    topic_filter: str
    qos: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """A PUBREL: the sender of a QoS 2 PUBLISH let go of `packet_id`. Comes in order among the publishes.

    The caller forgets the packet id durably, then calls `complete`.
    """

    packet_id: int


Inbound = Publish | Released
Clock = Callable[[], Micros]
"""Strictly increasing received_at."""


class Connection(Protocol):
    """One MQTT connection."""

    async def connect(self) -> Connected:
        """Open the connection and wait for CONNACK.

        Raises: BrokerRefused (the broker said no), BrokerAway (not reached in time), ProtocolBroken.
        """

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """Subscribe and return one answer per filter; a refused filter is an answer, not an exception."""

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give up these filters and wait until the broker has; one that was not subscribed is no error.

        What the session holds of them already still comes. Raises: BrokerAway.
        """

    async def receive(self) -> list[Inbound]:
        """Wait until something came and return all of it, in order, at least one.

        Raises: BrokerAway with the reason once the connection has ended and everything received was handed out.
        """

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """PUBACK (QoS 1) or PUBREC (QoS 2) these, the oldest unacknowledged ones in order; QoS 0 is passed over.

        After the connection has ended this does nothing: the broker will send them again.
        """

    def complete(self, released: Sequence[Released]) -> None:
        """PUBCOMP these packet ids."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish at QoS 1 and wait for the PUBACK; False where the broker says that nobody is subscribed.

        MQTT 5 lets it say so (3.4.2.1), MQTT 3.1.1 does not.
        Raises: BrokerRefused when the broker answers with a reason >= 0x80, BrokerAway.
        """

    def pause(self) -> None:
        """Stop reading from the socket (back-pressure). Keep-alive goes on."""

    def resume(self) -> None:
        """Read again."""

    async def close(self) -> None:
        """DISCONNECT without discarding the session, and wait until the socket is closed (bounded)."""
