"""Faults on the way to the broker."""

import asyncio

from tests.faults.faults import Fault
from tests.faults.world import World


class LinkFaults:
    """The faults by name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self.by_name: dict[str, Fault] = {
            "cut the link": self._cut,
            "cut in mid-drain": self._cut_in_mid_drain,
            "no way to the broker": self._no_way,
            "stall the link": self._stall,
            "nothing gets back": self._nothing_gets_back,
            "a half-open link": self._halve,
            "byte by byte": self._byte_by_byte,
            "delays": self._delays,
            "forbid markers": self._forbid_markers,
        }

    async def _cut(self) -> None:
        self._world.link.cut()

    async def _cut_in_mid_drain(self) -> None:
        """Let a backlog grow while nobody gets through, and cut the link again and again while it is drained."""
        link = self._world.link
        link.refusing = True
        link.cut()
        try:
            await self._world.a_while()
        finally:
            link.refusing = False
        for _ in range(self._chance.randrange(2, 6)):
            await asyncio.sleep(self._chance.uniform(0.02, 0.8))
            link.cut()

    async def _no_way(self) -> None:
        """Let nobody through to the broker, for long enough that reconnecting has slowed down."""
        self._world.link.refusing = True
        self._world.link.cut()
        try:
            await self._world.a_while(8.0)
        finally:
            self._world.link.refusing = False

    async def _stall(self) -> None:
        self._world.link.stall()
        try:
            await self._world.a_while()
        finally:
            self._world.link.flow()

    async def _nothing_gets_back(self) -> None:
        """Lose all that Rollcall sends to the broker, its PUBACKs above all: what they were for comes again."""
        self._world.link.swallow = True
        try:
            await self._world.a_while_or_a_death()
        finally:
            self._world.link.cut()
            self._world.link.swallow = False

    async def _halve(self) -> None:
        self._world.link.halve()

    async def _byte_by_byte(self) -> None:
        self._world.link.byte_by_byte = True
        try:
            await self._world.a_while()
        finally:
            self._world.link.byte_by_byte = False

    async def _delays(self) -> None:
        self._world.link.delay_s = self._chance.uniform(0.01, 0.3)
        try:
            await self._world.a_while()
        finally:
            self._world.link.delay_s = 0.0

    async def _forbid_markers(self) -> None:
        """Let nobody publish a marker: the quiet of a link must do for how far a session has heard, and there is none.

        At the end the link is cut: a session that was refused once does not ask again on that connection.
        """
        link = self._world.link
        link.forbidden = b"rollcall/"
        try:
            await self._world.a_while(4.0)
        finally:
            link.forbidden = None
            link.cut()
