"""Waiting for a condition, with a bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable

WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and strpos(query, $1) > 0"""
"""How many wait for a lock in this database with a statement that contains $1."""


Condition = Callable[[], bool] | Callable[[], Awaitable[bool]]


async def until(condition: Condition, within_s: float, what: str) -> None:
    """Return once `condition` holds.

    Raises: AssertionError, naming `what`, when it does not within `within_s`.
    """
    deadline = time.monotonic() + within_s
    while not await _holds(condition):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.05)


async def _holds(condition: Condition) -> bool:
    answer = condition()
    return answer if isinstance(answer, bool) else await answer
