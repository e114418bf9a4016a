"""Housekeeping: once a minute, in one replica, what is past its age or count is deleted."""

import asyncio
import logging

from ingest.errors import RollcallError
from ingest.store.retention import Retention
from ingest.store.sessions import Sessions

log = logging.getLogger(__name__)

EVERY_S = 60.0


class Housekeeping:
    """Runs the retention while it holds the lease."""

    def __init__(self, retention: Retention, sessions: Sessions, holder: str) -> None:
        self._retention = retention
        self._sessions = sessions
        self._holder = holder

    async def run(self) -> None:
        """Keep house for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                if await self._sessions.lease("housekeeping", self._holder, EVERY_S * 3):
                    await self._retention.expire()
            except RollcallError as error:
                log.warning("housekeeping is skipped: %s", error)
