"""A transaction of a run is tried again where the database is away for a moment, or another writer was in the way."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ingest.errors import DatabaseAway, Unattributed
from ingest.reconcile.runs import RunLost
from ingest.store.errors import Contended

Result = TypeVar("Result")
TRIES = 8


async def with_retries(commit: Callable[[], Awaitable[Result]], jitter: random.Random) -> Result:
    """Return what `commit` returns, after at most TRIES attempts with full-jitter back-off.

    Raises: DatabaseAway after the last of them; RunLost and Unattributed at once; whatever else `commit` raises.
    """
    for attempt in range(TRIES):
        try:
            return await commit()
        except DatabaseAway as away:
            if isinstance(away, RunLost | Unattributed) or attempt == TRIES - 1:
                raise
            cap_s = 0.1 if isinstance(away, Contended) else 0.2 * 2.0**attempt
            await asyncio.sleep(jitter.uniform(0, cap_s))
    raise AssertionError("unreachable")
