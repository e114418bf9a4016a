"""From what NATS delivers to the publishes that an MQTT adapter would hand out."""

import asyncio
import logging
from collections import deque

from nats.aio.msg import Msg

from handlers.events import SECOND, Micros, Publish
from ingest.jetstream.consumers import PREFIX
from ingest.jetstream.subjects import topic_of
from ingest.mqtt.inbox import Inbox
from ingest.mqtt.port import Clock
from ingest.mqtt.skimming import HEAD

log = logging.getLogger(__name__)

QOS = "Nmqtt-Pub"
"""The header in which the server says at which QoS a device published."""


class Arrivals:
    """Puts into an inbox what comes. `max_payload` in bytes, `max_ahead_s` in seconds."""

    def __init__(
        self, inbox: Inbox, flowing: asyncio.Event, clock: Clock, max_payload: int, max_ahead_s: float
    ) -> None:
        self._inbox = inbox
        self._flowing = flowing
        self._clock = clock
        self._max_payload = max_payload
        self._max_ahead_s = max_ahead_s
        self._ahead = False
        self.unacknowledged: deque[str] = deque()
        """Where to acknowledge what came out of the stream, in its order."""

    def stored(self, message: Msg) -> None:
        """Take a message of the stream. Its stamp is the same at each delivery, and so is what becomes of it."""
        told = message.reply.split(".")
        delivered, sequence, stamp = (
            (told[4], told[5], told[7]) if len(told) == 9 else (told[6], told[7], told[9])
        )
        payload = message.data
        self.unacknowledged.append(message.reply)
        publish = Publish(
            topic_of(message.subject[len(PREFIX) :]),
            self._kept(payload),
            1,
            False,
            delivered != "1",
            int(sequence) % 65_535 + 1,
            self._received_at(int(stamp) // 1_000),
            len(payload),
        )
        self._inbox.items.append(publish)
        self._inbox.wake(len(payload))

    async def passing(self, message: Msg) -> None:
        """Take a message of QoS 0; the others are in the stream. While there is no room the library drops."""
        if (message.headers or {}).get(QOS, "0") != "0":
            return
        await self._flowing.wait()
        payload, size = message.data, len(message.data)
        topic = topic_of(message.subject)
        self._inbox.items.append(Publish(topic, self._kept(payload), 0, False, False, 0, self._clock(), size))
        self._inbox.wake(size)

    def _kept(self, payload: bytes) -> bytes:
        """Return the payload, or the head of one that is too large."""
        return payload if len(payload) <= self._max_payload else payload[: min(HEAD, self._max_payload)]

    def _received_at(self, stamp: Micros) -> Micros:
        now = self._clock()
        if stamp - now <= self._max_ahead_s * SECOND:
            return stamp
        if not self._ahead:
            self._ahead = True
            seconds = (stamp - now) / SECOND
            log.error("a NATS server's clock is %.0f s ahead of ours: ours is taken, set that one", seconds)
        return now
