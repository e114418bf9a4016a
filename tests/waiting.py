"""Waiting for a condition, with a bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """Return once `condition` holds.

    Raises: AssertionError, naming `what`, when it does not within `within_s`.
    """
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.05)
