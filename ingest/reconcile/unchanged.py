"""Unchanged entries of a listing: applied out of staging in one statement, without being decoded."""

import asyncio
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import asyncpg

from handlers.events import Micros
from ingest.reconcile.plan import Plan
from ingest.reconcile.retries import with_retries
from ingest.reconcile.runs import Run, Runs
from ingest.store.errors import FAULTS, acquired
from ingest.store.queries import queries

WINDOW = 1_000
"""Staging ids looked at in one transaction."""


class Window(NamedTuple):
    """Staging ids, both ends included."""

    first: int
    last: int


class UnchangedEntries:
    """Applies entries whose facts were applied before, and on which both sides still agree.

    Its method raises DatabaseAway and RunLost.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        runs: Runs,
        plan: Plan,
        jitter: random.Random,
        *,
        tells_connections: bool = True,
        presence_resolution: Micros = 0,
        timeout_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._runs = runs
        self._plan = plan
        self._jitter = jitter
        self._tells_connections = tells_connections
        self._resolution = presence_resolution
        self._timeout_s = timeout_s

    async def windows(self, run: Run) -> Iterator[Window]:
        """Return what is staged in small windows of ids: the devices of a window are locked while it is applied."""
        async with acquired(self._pool, self._timeout_s) as connection:
            first, last = await connection.fetchrow(queries()["staged_ids"], run.id)
        ids = range(first, last + 1, WINDOW) if first is not None else range(0)
        return (Window(one, one + WINDOW - 1) for one in ids)

    async def apply(self, run: Run, windows: Iterable[Window]) -> int:
        """Apply what can be of these windows, at the same time; return how many entries that was."""
        done = await asyncio.gather(*(self._apply(run, one) for one in windows), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error
        return sum(count for count in done if isinstance(count, int))

    async def _apply(self, run: Run, window: Window) -> int:
        """Apply a window; what the database refuses is left to those who can tell which entry it is: `chunks.py`."""
        try:
            return await with_retries(lambda: self._commit(run, window), self._jitter)
        except FAULTS as fault:
            run.note(f"entries are applied one by one: {fault}")
            return 0

    async def _commit(self, run: Run, window: Window) -> int:
        plan = self._plan
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            unchanged, changed = await connection.fetchrow(
                queries()["apply_settled"], plan.integration_id, run.id, *window, plan.dating.lag,
                plan.offline_after, self._resolution, run.complete and not self._tells_connections,
                timeout=self._timeout_s,
            )  # fmt: skip
            if unchanged:
                counted = {"matched": unchanged, "changed": changed, "unchanged": unchanged - changed}
                await self._runs.move(connection, run, **counted)
        return int(unchanged)
