"""What devices publish, and what of it the broker is answerable for.

A device keeps what the broker has not acknowledged, and publishes it again. Mosquitto acknowledges before it saves:
when it is killed, or told to forget a session, what it has acknowledged since some moment may be gone. A device
cannot know; here it is told that moment (`doubt`), and publishes again what came after it. So each *dated* message,
one with a time of its own, is certain to come at least once, and however often it comes it is the same observation.
An *undated* one would be a new event each time it is published, so it is not: in doubt, it may be missing. And a
broker that was killed has forgotten what was acknowledged to it: what it held before may come twice, in packets that
nobody can recognise. All other undated messages come exactly once.
"""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import aiomqtt
import orjson

DATED, UNDATED, COMING_AND_GOING = 200, 3, 8
"""Devices of each kind."""
A_SECOND = 400
"""Messages, about."""
EVERY_MS = 2
CLOCK_STEPS_S = (-3_600, -600, 240)
"""What a device's clock may be wrong by; later than five minutes ahead its time would count no more."""


class Message(NamedTuple):
    topic: str
    payload: bytes
    is_dated: bool


class Acknowledged(NamedTuple):
    message: Message
    at: float
    """When its PUBACK was here, in seconds since 1970."""


@dataclass(slots=True)
class Certainty:
    """Of the undated messages, by payload: all that were acknowledged, and those that are less than certain."""

    undated: set[bytes] = field(default_factory=set)
    maybe_missing: set[bytes] = field(default_factory=set)
    maybe_doubled: set[bytes] = field(default_factory=set)


class Devices:
    """Publishes numbered messages until `stop`, at a pace: telemetry, connections, firmware, and what means nothing."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self._started_ms = int(time.time() * 1_000)
        self._clocks_s: dict[int, int] = {}
        self._number = 0
        self._again: deque[Message] = deque()
        self.is_online = [False] * COMING_AND_GOING
        """What each of the devices that come and go has said last."""
        self._stopping = False
        self.acknowledged: list[Acknowledged] = []
        self.certainty = Certainty()

    def stop(self) -> None:
        """Let each device that comes and goes do so once more, then say nothing new; `run` ends once all is said."""
        self._stopping = True
        self._again.extend(self._comes_or_goes(device) for device in range(COMING_AND_GOING))

    def step_a_clock(self) -> None:
        """Let the clock of a device be wrong, or right again."""
        device = self._chance.randrange(DATED)
        self._clocks_s[device] = 0 if self._clocks_s.get(device) else self._chance.choice(CLOCK_STEPS_S)

    def doubt(self, since: float, *, all_may_double: bool = False) -> None:
        """Publish again what was acknowledged since; `all_may_double`: the broker has forgotten what it was told."""
        certainty = self.certainty
        for message, at in reversed(self.acknowledged):
            if at < since:
                break
            if message.is_dated:
                self._again.append(message)
            else:
                certainty.maybe_missing.add(message.payload)
                certainty.maybe_doubled.add(message.payload)
        if all_may_double:
            certainty.maybe_doubled |= certainty.undated

    async def run(self) -> None:
        """Publish, and connect again for as long as it takes."""
        message: Message | None = None
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", self._port, identifier="devices", timeout=5) as client:
                    while message := message or self._next():
                        await client.publish(message.topic, message.payload, qos=1)
                        self._note(message)
                        message = None
                        await self._keep_pace()
                    return
            except aiomqtt.MqttError:
                if message is not None and not message.is_dated:
                    # it may have arrived: published again it is a second event
                    self.certainty.undated.add(message.payload)
                    self.certainty.maybe_doubled.add(message.payload)
                await asyncio.sleep(0.2)

    def _note(self, message: Message) -> None:
        self.acknowledged.append(Acknowledged(message, time.time()))
        if not message.is_dated:
            self.certainty.undated.add(message.payload)

    async def _keep_pace(self) -> None:
        """Wait while more was published than the time since the start allows; after an outage it is made up for."""
        ahead = self._number / A_SECOND - (time.time() - self._started_ms / 1_000)
        if ahead > 0:
            await asyncio.sleep(ahead)

    def _next(self) -> Message | None:
        if self._again:
            return self._again.popleft()
        if self._stopping:
            return None
        if self._number % 43 == 0:
            return self._comes_or_goes(self._chance.randrange(COMING_AND_GOING))
        self._number += 1
        return self._undated() if self._number % 41 == 0 else self._dated()

    def _comes_or_goes(self, device: int) -> Message:
        """Make a message about presence, which has no time: each says the opposite of the one before."""
        self._number += 1
        self.is_online[device] = not self.is_online[device]
        said = {"status": "online" if self.is_online[device] else "offline", "seq": self._number}
        return Message(f"devices/p{device}/connection", orjson.dumps(said), False)

    def _dated(self) -> Message:
        n = self._number
        device = n % DATED
        ts = self._started_ms + n * EVERY_MS + self._clocks_s.get(device, 0) * 1_000
        if n % 11 == 4:
            online = orjson.dumps({"status": "online", "ts": ts, "seq": n})
            return Message(f"devices/d{device}/connection", online, True)
        body: dict[str, object] = {"battery": n % 101, "rssi": -(n % 120), "seq": n, "ts": ts}
        if n % 23 == 1:
            body["fw"] = f"v{n // 4_000}"
        if n % 29 == 3:
            body = {f"late{n % 3}": n, "ts": ts - 20_000}
        return Message(f"devices/d{device}/telemetry", orjson.dumps(body), True)

    def _undated(self) -> Message:
        """Make a message without a usable time; its number is in it once, as a version or as what means nothing."""
        n = self._number
        topic = f"devices/u{n % UNDATED}/telemetry"
        if n % 3 == 0:
            return Message(topic, b"this is no JSON: %d" % n, False)
        clock: dict[str, object] = {"ts": n % 1_000} if n % 2 else {}  # 1970: a clock that was never set
        return Message(topic, orjson.dumps({"fw": f"u{n}", **clock}), False)
