"""Devices that publish, and how sure it is that each message without a time of its own was applied once.

A *dated* message, one with a time of its own, is the same observation however often it comes. So where it may be lost
(`may_be_missing`) it is published again, and is certain to have come at least once. A *numbered* one has no usable
time: published again it would be a new event, so it is not. What may have befallen it is kept in `certainty`; all that
is not in there came exactly once. Each carries its number as a version and as the name of a reading: the first time
that it was applied is in the history, the last time is the reading's clock (tests/faults/numbered.py).
"""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import aiomqtt
import orjson

from ingest.simulate.link import look_why

DATED, NUMBERED, COMING_AND_GOING = 200, 3, 8
"""Devices of each kind that speak at a time."""
EACH = 60
"""Messages that a numbered device says before another takes its place: fewer than the readings that are kept of one."""
MOST_LETTERS = 8_000
"""Messages that mean nothing: fewer than the dead letters that are kept."""
OFFLINE = b'{"status":"offline"}'
"""It carries no number: what is said with an offline and has no time may be old, and is not used."""
A_SECOND = 400
"""Messages, about."""
EVERY_MS = 2
BEFORE_MS = 3_600_000
"""How old evidence from before the sessions is, at least."""
CLOCK_STEPS_S = (-3_600, -600, 240)
"""What a device's clock may be wrong by; later than five minutes ahead its time would count no more."""


class Message(NamedTuple):
    """A PUBLISH; `number` where it has no usable time of its own."""

    topic: str
    payload: bytes
    number: int | None = None

    @property
    def is_numbered(self) -> bool:
        """Whether its number is in it as a version and a reading."""
        return self.payload.startswith(b"{") and self.payload != OFFLINE


class Acknowledged(NamedTuple):
    """A message and, in seconds since 1970, when it was sent and when its PUBACK was here."""

    message: Message
    sent_at: float
    at: float


@dataclass(slots=True)
class Certainty:
    """The numbered messages that were acknowledged, and the numbers of those that are less than certain."""

    said: dict[int, Message] = field(default_factory=dict)
    maybe_missing: set[int] = field(default_factory=set)
    maybe_doubled: set[int] = field(default_factory=set)


class Devices:
    """Publishes until `stop`, at a pace: telemetry, connections, firmware, and what means nothing."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self._started_ms = int(time.time() * 1_000)
        self._clocks_s: dict[int, int] = {}
        self._edited: set[int] = set()
        self._number = 0
        self._numbered = self._came_and_went = 0
        self._again: deque[Message] = deque()
        self._sending: Message | None = None
        self._stopping = False
        self.acknowledged: list[Acknowledged] = []
        self.certainty = Certainty()

    def stop(self) -> None:
        """Let each device that comes and goes do so once more, then say nothing new; `run` ends once all is said."""
        self._stopping = True
        self._again.extend(self._comes_or_goes() for _ in range(COMING_AND_GOING))
        self._again.extend(self._measured(device) for device in sorted(self._edited))

    def edit(self) -> str | None:
        """Return a device whose row a person may edit, if there is one: its clock is right and stays so.

        It measures once more at the end, so that evidence newer than the edit is sure to come.
        """
        right = sorted(set(range(DATED)) - self._clocks_s.keys())
        if not right:
            return None
        device = self._chance.choice(right)
        self._edited.add(device)
        return f"d{device}"

    def step_a_clock(self) -> None:
        """Let the clock of a device be wrong, or right again."""
        device = self._chance.randrange(DATED)
        if device in self._edited:
            return
        self._clocks_s[device] = 0 if self._clocks_s.get(device) else self._chance.choice(CLOCK_STEPS_S)

    def may_be_missing(self, since: float, *, only_shared: bool = False) -> None:
        """Take what was acknowledged since for lost: publish it again where it has a time.

        `only_shared`: what is read through a shared subscription alone, which connections are not.
        """
        doubtful = [self._sending] if self._sending else []
        for message, _, at in reversed(self.acknowledged):
            if at < since:
                break
            doubtful.append(message)
        self._again.extend(message for message in doubtful if message.number is None)
        self.certainty.maybe_missing.update(
            message.number
            for message in doubtful
            if message.number is not None and not (only_shared and message.topic.endswith("connection"))
        )

    def may_be_doubled(self, since: float, until: float) -> None:
        """Take what was acknowledged since, and sent until then, for what may come twice."""
        for message, sent_at, at in reversed(self.acknowledged):
            if at < since:
                break
            if message.number is not None and sent_at <= until:
                self.certainty.maybe_doubled.add(message.number)

    async def run(self) -> None:
        """Publish, and connect again for as long as it takes."""
        while True:
            client = aiomqtt.Client("127.0.0.1", self._port, identifier="devices", timeout=5)
            ended_at_once = client._disconnected
            try:
                async with client:
                    while (message := self._next()) is not None:
                        await self._publish(client, message)
                        await self._keep_pace()
                    return
            except aiomqtt.MqttError:
                if self._sending is not None and self._sending.number is not None:
                    # it may have arrived: published again it is a second event
                    self.certainty.maybe_doubled.add(self._sending.number)
                await asyncio.sleep(0.2)
            finally:
                look_why(ended_at_once, client._disconnected)

    async def _publish(self, client: aiomqtt.Client, message: Message) -> None:
        self._sending, sent_at = message, time.time()
        await published(client, message)
        self._sending = None
        self.acknowledged.append(Acknowledged(message, sent_at, time.time()))
        if message.number is not None:
            self.certainty.said[message.number] = message

    async def _keep_pace(self) -> None:
        """Wait while more was published than the time since the start allows; after an outage it is made up for."""
        ahead = self._number / A_SECOND - (time.time() - self._started_ms / 1_000)
        if ahead > 0:
            await asyncio.sleep(ahead)

    def _next(self) -> Message | None:
        if self._sending is not None:
            return self._sending
        if self._again:
            return self._again.popleft()
        if self._stopping:
            return None
        self._number += 1
        if self._number % 43 == 0:
            return self._comes_or_goes()
        return self._telemetry_by_number() if self._number % 13 == 0 else self._dated()

    def _comes_or_goes(self) -> Message:
        """Make a message about presence: each of a device says the opposite of the one before."""
        turn, device = divmod(self._came_and_went, COMING_AND_GOING)
        self._came_and_went += 1
        topic = f"devices/p{device + turn // EACH * COMING_AND_GOING}/connection"
        if turn % 2:
            self._number += 1
            return Message(topic, OFFLINE, self._number)
        return self._by_number(topic, {"status": "online"})

    def _telemetry_by_number(self) -> Message:
        turn, device = divmod(self._numbered, NUMBERED)
        self._numbered += 1
        topic = f"devices/u{device + turn // EACH * NUMBERED}/telemetry"
        if self._numbered % 6 == 0 and self._numbered < 6 * MOST_LETTERS:
            return Message(topic, b"this is no JSON: %d" % self._number, self._number)
        clock = {"ts": self._number % 1_000} if self._numbered % 2 else {}  # 1970: a clock that was never set
        return self._by_number(topic, {"battery": self._number % 101, **clock})

    def _by_number(self, topic: str, said: dict[str, object]) -> Message:
        self._number += 1  # of its own: two messages of one number would be one
        n = self._number
        return Message(topic, orjson.dumps({**said, "fw": f"v{n}", f"n{n}": 1}), n)

    def _measured(self, device: int) -> Message:
        self._number += 1
        n = self._number
        body = {"battery": n % 101, "rssi": -(n % 120), "seq": n, "ts": self._started_ms + n * EVERY_MS}
        return Message(f"devices/d{device}/telemetry", orjson.dumps(body))

    def _dated(self) -> Message:
        n = self._number
        device = n % DATED
        ts = self._started_ms + n * EVERY_MS + self._clocks_s.get(device, 0) * 1_000
        if n % 11 == 4:
            online = orjson.dumps({"status": "online", "ts": ts, "seq": n})
            return Message(f"devices/d{device}/connection", online)
        if n % 37 == 6:
            ts -= BEFORE_MS + n % 1_000 * 60_000  # measured before any session began, and sent only now
        body: dict[str, object] = {"battery": n % 101, "rssi": -(n % 120), "seq": n, "ts": ts}
        if n % 23 == 1:
            body["fw"] = f"v{n}"
        if n % 29 == 3:
            body = {f"late{n % 3}": n, "ts": ts - 20_000}
        return Message(f"devices/d{device}/telemetry", orjson.dumps(body))


async def published(client: aiomqtt.Client, message: Message) -> None:
    """Publish and wait for the broker's PUBACK, but not for one of a connection that is gone, as aiomqtt does."""
    publishing = asyncio.ensure_future(client.publish(message.topic, message.payload, qos=1))
    try:
        await asyncio.wait({publishing, client._disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not publishing.done():
            raise aiomqtt.MqttError("the connection is gone")
        await publishing
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
