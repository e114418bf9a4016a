"""What a listing says as before is applied out of staging in one statement, without being decoded."""

import random

import asyncpg

from handlers.events import Micros
from ingest.errors import Refused
from ingest.reconcile.plan import Plan
from ingest.reconcile.retries import with_retries
from ingest.reconcile.runs import Run, Runs
from ingest.store.queries import queries
from ingest.store.refusals import acquired

WINDOW = 2_000
"""Entries looked at in one transaction."""


class Settled:
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
        presence_resolution: Micros = 0,
        timeout_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._runs = runs
        self._plan = plan
        self._jitter = jitter
        self._resolution = presence_resolution
        self._timeout_s = timeout_s

    async def apply(self, run: Run, after: int) -> tuple[int | None, int]:
        """Apply what can be of the next window; return its last staging id, None after the last, and how many it was.

        What the database refuses is left to those who can tell which entry it is: `chunks.py`.
        """
        try:
            return await with_retries(lambda: self._commit(run, after), self._jitter)
        except Refused as refused:
            run.note(f"entries are applied one by one: {refused}")
            return None, 0

    async def _commit(self, run: Run, after: int) -> tuple[int | None, int]:
        plan = self._plan
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            last, settled, changed = await connection.fetchrow(
                queries()["apply_settled"], plan.integration_id, run.id, after, WINDOW, plan.dating.lag,
                plan.offline_after, self._resolution, timeout=self._timeout_s,
            )  # fmt: skip
            if settled:
                counted = {"matched": settled, "changed": changed, "unchanged": settled - changed}
                await self._runs.move(connection, run, **counted)
        return last, settled
