"""The outbox: rows of the timeline are numbered in the order of their commits, by one replica, within a second or two.

A sequence would be drawn before the commit, so a reader could pass a number whose row comes later. Who reads the
timeline as an outbox asks for positions above the last one that it has seen.
"""

from ingest.jobs.schedule import LeasedSchedule
from ingest.store.commit.outbox import Positions

EVERY_S = 1.0


class Outbox:
    """Numbers new rows at each of its turns."""

    def __init__(self, positions: Positions, schedule: LeasedSchedule) -> None:
        self._positions = positions
        self._schedule = schedule

    async def run(self) -> None:
        """Number rows until cancelled."""
        await self._schedule.run(self._positions.number)
