"""The fleet: who speaks when, whose link fails, and when a firmware rolls out."""

import asyncio
import os
import random
import time
from dataclasses import dataclass

from ingest.simulate.device import Device
from ingest.simulate.link import Address, Link, Message

OWN_LINKS = 50
"""Devices with a connection and a will of their own; the others share a few connections."""
SHARED_LINKS = 4
SHARED_BY = 2_000
"""Devices that one shared connection announces a second when the fleet boots, at most."""
TICK_S = 0.1
SETTLED_AFTER_S = 10.0
"""Nothing is cut before: whoever starts a fleet wants to see all of it come online."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What goes wrong, as probabilities a message, and seconds on average between what befalls the fleet."""

    late: float
    doubled: float
    garbled: float
    cut_every_s: float
    roll_out_every_s: float


CALM = Weather(late=0.01, doubled=0.005, garbled=0.0, cut_every_s=8.0, roll_out_every_s=60.0)
CHAOS = Weather(late=0.08, doubled=0.05, garbled=0.01, cut_every_s=0.7, roll_out_every_s=20.0)


class Fleet:
    """`count` devices that publish `rate` messages a second together."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        count: int,
        rate: float,
        chaos: bool = False,
        username: str | None = None,
        password: str | None = None,
        seed: int | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self.published = 0
        self.rate = rate
        self._weather = CHAOS if chaos else CALM
        self.devices = [
            Device(f"sim-{n:05}", random.Random(self._random.random())) for n in range(1, count + 1)
        ]
        address = Address(host, port, username, password, self._count)
        run = f"{os.getpid()}-{self._random.randrange(1 << 24):x}"
        self._own = [Link(address, f"{device.name}-{run}", device) for device in self.devices[:OWN_LINKS]]
        shared = SHARED_LINKS if count > OWN_LINKS else 0
        self._shared = [Link(address, f"sim-gateway-{n}-{run}") for n in range(shared)]
        self._newest = (1, 0, 0)

    @property
    def links(self) -> list[Link]:
        """The connections: those of one device first, then the shared ones."""
        return [*self._own, *self._shared]

    async def run(self) -> None:
        """Run the fleet until cancelled."""
        async with asyncio.TaskGroup() as group:
            for link in self.links:
                group.create_task(link.run())
            await self._boot()
            group.create_task(self._speak())
            group.create_task(self._cut())
            group.create_task(self._roll_out())

    def _count(self) -> None:
        self.published += 1

    def _link(self, place: int) -> Link:
        return self._own[place] if place < len(self._own) else self._shared[place % len(self._shared)]

    async def _boot(self) -> None:
        """Every device says that it is there and what it runs; one with its own link does whenever it connects."""
        for place, device in enumerate(self.devices[len(self._own) :], start=len(self._own)):
            await self._link(place).send(Message(device.topics.status, device.status(time.time())))
            if place % SHARED_BY == SHARED_BY - 1:
                await asyncio.sleep(1)

    async def _speak(self) -> None:
        """Publish at the rate: as many a tick as are due, so that a late tick is made up for within a second."""
        due = 0.0
        before = time.monotonic()
        while True:
            await asyncio.sleep(max(TICK_S, 1 / self.rate))
            now = time.monotonic()
            due = min(due + (now - before) * self.rate, self.rate + 1)
            before = now
            while due >= 1:
                due -= 1
                await self._say(self._random.randrange(len(self.devices)))

    async def _say(self, place: int) -> None:
        """Let one device speak, as the weather has it."""
        device, link, chance = self.devices[place], self._link(place), self._random.random
        if device.asleep_until is not None and time.time() < device.asleep_until:
            return
        updates = device.firmware < self._newest and chance() < 0.2
        if updates or device.asleep_until is not None:
            device.firmware = self._newest if updates else device.firmware
            device.asleep_until = None
            await link.send(Message(device.topics.status, device.status(time.time())))
        at = time.time() - (self._random.uniform(1, 600) if chance() < self._weather.late else 0)
        message = Message(device.topics.telemetry, device.telemetry(at))
        if chance() < self._weather.garbled:
            message = message._replace(payload=message.payload[: len(message.payload) // 2])
        await link.send(message)
        if chance() < self._weather.doubled:
            await link.send(message)

    async def _cut(self) -> None:
        """Cut a link now and then: the will says offline, and what was measured meanwhile comes late.

        A device without a link of its own says itself that it goes, and is silent for a while.
        """
        await asyncio.sleep(SETTLED_AFTER_S)
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._weather.cut_every_s))
            place = self._random.randrange(len(self.devices))
            device, away_s = self.devices[place], self._random.uniform(2, 15)
            if place < len(self._own):
                self._own[place].cut(away_s)
            elif device.asleep_until is None:
                device.asleep_until = time.time() + away_s
                await self._link(place).send(Message(device.topics.connection, b"offline"))

    async def _roll_out(self) -> None:
        """Release a version now and then, the first one soon; devices take it up one by one, when they next speak."""
        pause_s = self._weather.roll_out_every_s / 6
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._weather.roll_out_every_s
            major, minor, patch = self._newest
            self._newest = (major, minor, patch + 1) if patch < 9 else (major, minor + 1, 0)
