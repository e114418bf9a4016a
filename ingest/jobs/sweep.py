"""The sweep: devices that fell silent go offline, from rows and not from memory, once over all replicas."""

import logging

from handlers.events import SECOND
from ingest.jobs.schedule import LeasedSchedule
from ingest.mqtt.port import Clock
from ingest.settings import Settings
from ingest.store.commit.silences import Silences

log = logging.getLogger(__name__)


class Sweep:
    """Sweeps at each of its turns."""

    def __init__(
        self, silences: Silences, clock: Clock, settings: Settings, schedule: LeasedSchedule
    ) -> None:
        self._silences = silences
        self._clock = clock
        self._offline_after = settings.offline_after_s * SECOND
        self._schedule = schedule

    async def run(self) -> None:
        """Sweep until cancelled."""
        await self._schedule.run(self._sweep)

    async def _sweep(self) -> None:
        silenced = await self._silences.sweep(self._offline_after, self._clock())
        if silenced:
            log.info("%d devices fell silent", silenced)
