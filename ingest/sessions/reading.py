"""Reading: what a connection brings goes into the intake, portion by portion, and waits there for room."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

from handlers.events import Publish
from ingest.mqtt.port import Inbound
from ingest.pipeline.intake import Intake
from ingest.sessions.inflight import SessionInflight
from ingest.sessions.segment import MqttSegment

PORTION = 500
"""Messages that are decoded before the event loop runs again."""
PORTION_BYTES = 256 << 10
"""Their payloads and topics: decoding so much takes some ten milliseconds."""
QOS0_PATIENCE_S = 1.0
"""How long QoS 0 messages wait for room before they are dropped and counted."""


class Readable(Protocol):
    """The part of a connection that reading needs."""

    async def receive(self) -> list[Inbound]:
        """Return what came, at least one. Raises: BrokerAway."""

    async def close(self) -> None:
        """Disconnect; the session stays."""


async def read(connection: Readable, session: SessionInflight, intake: Intake) -> None:
    """Put what comes into the intake until the connection ends. Raises: BrokerAway."""
    while True:
        await put(intake, session, await connection.receive())


async def let_go(connection: Readable, session: SessionInflight) -> None:
    """Commit and acknowledge what was handed over, then disconnect; the session stays at the broker.

    A new connection must not start before: what is in hand would come again and count twice.
    """
    try:
        await session.idle.wait()
    finally:
        await connection.close()


async def put(intake: Intake, session: SessionInflight, arrivals: Sequence[Inbound]) -> None:
    """Decode and queue; while there is no room the connection is not read and this waits.

    Cancelled, it gives back what it has not queued: that is not acknowledged and will come again.
    """
    session.entered(len(arrivals))
    waiting = len(arrivals)
    try:
        for portion, size in portions(arrivals):
            kept = await _wait_for_room(intake, session, portion) if intake.full else portion
            waiting -= len(portion)
            session.left(len(portion) - len(kept))
            if kept:
                intake.add(MqttSegment(session, kept), size if kept is portion else size_of(kept))
            await asyncio.sleep(0)
    finally:
        session.left(waiting)


async def _wait_for_room(
    intake: Intake, session: SessionInflight, portion: Sequence[Inbound]
) -> Sequence[Inbound]:
    """Wait with the connection paused; returns what is left: QoS 0 does not wait longer than its patience."""
    session.connection.pause()
    try:
        async with asyncio.timeout(QOS0_PATIENCE_S):
            await intake.until_room()
    except TimeoutError:
        kept = [arrival for arrival in portion if not isinstance(arrival, Publish) or arrival.qos]
        intake.counts.dropped_qos0 += len(portion) - len(kept)
        portion = kept
        await intake.until_room()
    finally:
        session.connection.resume()
    return portion


def portions(arrivals: Sequence[Inbound]) -> Iterator[tuple[Sequence[Inbound], int]]:
    """Cut what came, each with its bytes: at most PORTION messages and PORTION_BYTES, though one may have more."""
    for start in range(0, len(arrivals), PORTION):
        some = arrivals[start : start + PORTION]
        size = size_of(some)
        if size <= PORTION_BYTES:
            yield some, size
            continue
        step = max(1, len(some) // (1 + size // PORTION_BYTES))
        for first in range(0, len(some), step):
            yield some[first : first + step], size_of(some[first : first + step])


def size_of(arrivals: Sequence[Inbound]) -> int:
    """Return the bytes of their payloads and topics."""
    return sum([len(one.payload) + len(one.topic) for one in arrivals if isinstance(one, Publish)])
