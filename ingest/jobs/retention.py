"""Housekeeping: once a minute, in one replica, what is past its age or count is deleted."""

from ingest.jobs.schedule import Turns
from ingest.store.commit.retention import Retention

EVERY_S = 60.0


class Housekeeping:
    """Runs the retention at each of its turns."""

    def __init__(self, retention: Retention, turns: Turns) -> None:
        self._retention = retention
        self._turns = turns

    async def run(self) -> None:
        """Keep house for ever."""
        await self._turns.take(self._retention.expire)
