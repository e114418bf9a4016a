"""`rollcall run` as a process of its own, started again whenever it dies: kill -9 it and see that nothing is lost."""

import asyncio
import sys
import time
from pathlib import Path

from ingest.errors import Misconfigured
from ingest.local.child import Child

MISCONFIGURED = 1
PAUSE_S = 1.0
LEASE_TTL_S = 3
"""Short, because whoever kills it wants to see it come back."""
SHORT_LIFE_S = 2.0


class Service:
    """The service against one database."""

    def __init__(self, log: Path, database_url: str, http_port: int) -> None:
        command = [sys.executable, "-m", "ingest.cli", "run"]
        self._child = Child(
            command,
            log,
            ROLLCALL_DATABASE_URL=database_url,
            ROLLCALL_DATABASE_DIRECT_URL="",
            ROLLCALL_LEASE_TTL_S=str(LEASE_TTL_S),
            ROLLCALL_HTTP="on",
            ROLLCALL_MAX_CREATED_PER_MINUTE="1000000",
            ROLLCALL_MAX_CREATED="10000000",
            ROLLCALL_HTTP_HOST="127.0.0.1",
            ROLLCALL_HTTP_PORT=str(http_port),
        )
        self.http_port = http_port
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Its pid, while it runs."""
        return self._child.pid

    async def start(self) -> None:
        """Start it."""
        await self._child.start()

    async def keep_running(self) -> None:
        """Start it again whenever it dies, until cancelled. Raises: Misconfigured when it says that it is."""
        while True:
            began = time.monotonic()
            code = await self._child.wait()
            lived_s = time.monotonic() - began
            if code == MISCONFIGURED and lived_s < SHORT_LIFE_S:
                raise Misconfigured(f"`rollcall run` ended with 1:\n{self._child.tail()}")
            if lived_s < SHORT_LIFE_S:
                await asyncio.sleep(PAUSE_S)
            self.restarts += 1
            await self._child.start()

    async def stop(self) -> None:
        """Stop it in order."""
        await self._child.stop()
