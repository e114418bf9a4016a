"""Housekeeping: once a minute, in one replica, what is past its age or count is deleted."""

from ingest.jobs.schedule import LeasedSchedule
from ingest.store.commit.retention import Retention

EVERY_S = 60.0


class Housekeeping:
    """Runs the retention at each of its turns."""

    def __init__(self, retention: Retention, schedule: LeasedSchedule) -> None:
        self._retention = retention
        self._schedule = schedule

    async def run(self) -> None:
        """Delete what is past its age until cancelled."""
        await self._schedule.run(self._retention.expire)
