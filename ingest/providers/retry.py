"""Asking again while that can help: a bound on everything, full jitter, and what the provider says is respected."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from ingest.errors import ProviderAway, ProviderThrottled

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where waiting ends, in seconds. `request_s` bounds one attempt as a whole; retries come on top."""

    connect_s: float = 5.0
    read_s: float = 15.0
    request_s: float = 60.0
    retries: int = 4
    backoff_s: float = 0.5
    """The ceiling of the first wait; it doubles, and each wait is anywhere between nothing and the ceiling."""
    backoff_cap_s: float = 20.0
    retry_after_cap_s: float = 60.0


async def retrying(attempt: Callable[[], Awaitable[Result]], limits: Limits, idempotent: bool) -> Result:
    """Return what `attempt` does, made again after ProviderAway, at most `limits.retries` times.

    What is not idempotent is made again after a 429 alone, which says that it was not carried out.
    """
    made = 0
    while True:
        try:
            return await attempt()
        except ProviderAway as away:
            may_help = idempotent or isinstance(away, ProviderThrottled)
            if not may_help or made >= limits.retries:
                raise
            told = min(away.retry_after_s or 0.0, limits.retry_after_cap_s)
        ceiling = min(limits.backoff_cap_s, limits.backoff_s * 2.0**made)
        made += 1
        await asyncio.sleep(told + random.uniform(0, ceiling))
