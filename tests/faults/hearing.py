"""How far all sessions had heard at any time: what came to the broker before was committed by then."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

EVERY_S = 0.2
HEARD = """
select coalesce(min(coalesce(heard_until, 0)), 0) / 1e6 from rollcall.mqtt_sessions
where client_id like 'rollcall-%'"""


class Hearing:
    """Asks again and again. Times in seconds since 1970."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._heard: list[tuple[float, float]] = [(0.0, 0.0)]

    async def watch(self) -> None:
        """Ask for ever; while the database is away nothing is committed, and nothing is learned."""
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    heard_until = await self._ask()
                self._heard.append((time.time(), heard_until))
            await asyncio.sleep(EVERY_S)

    def before(self, moment: float) -> float:
        """Return until when everything had been heard, as it was known before `moment`."""
        return next(heard for known_at, heard in reversed(self._heard) if known_at < moment)

    async def _ask(self) -> float:
        database = await self._connect()
        try:
            return float(await database.fetchval(HEARD))
        finally:
            database.terminate()
