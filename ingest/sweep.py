"""The sweep: devices that fell silent go offline, from rows and not from memory, once over all replicas."""

import asyncio
import logging

from handlers.events import SECOND
from ingest.errors import RollcallError
from ingest.mqtt.port import Clock
from ingest.settings import Settings
from ingest.store.sessions import Sessions
from ingest.store.silences import Silences

log = logging.getLogger(__name__)


class Sweep:
    """Sweeps every `sweep_every_s` while it holds the lease."""

    def __init__(
        self, silences: Silences, sessions: Sessions, clock: Clock, settings: Settings, holder: str
    ) -> None:
        self._silences = silences
        self._sessions = sessions
        self._clock = clock
        self._every_s = settings.sweep_every_s
        self._offline_after = settings.offline_after_s * SECOND
        self._holder = holder

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if await self._sessions.lease("sweep", self._holder, self._every_s * 3):
                    silenced = await self._silences.sweep(self._offline_after, self._clock())
                    if silenced:
                        log.info("%d devices fell silent", silenced)
            except RollcallError as error:
                log.warning("the sweep is skipped: %s", error)
