"""Guesses at a secret: how many requests of one address may fail to prove themselves, and how soon the next one may."""

import time
from collections import OrderedDict
from collections.abc import Callable

from ingest.problems import Problem

MAX_CONCURRENT = 20
EVERY_S = 3.0
"""Once AT_ONCE have failed, another may every so often."""
MAX_KEPT = 10_000

Guesser = tuple[object, str]
"""An integration and the address that guesses."""


class Guesses:
    """Counts what failed. Who has failed too often is refused before his secret is looked at."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed: OrderedDict[Guesser, tuple[float, float]] = OrderedDict()
        """How many count as failed, as of when."""

    def check(self, guesser: Guesser) -> None:
        """Return while another guess is allowed. Raises: Problem (429), saying when the next one is."""
        left = MAX_CONCURRENT - self._count(guesser)
        if left < 1:
            wait_s = int((1 - left) * EVERY_S) + 1
            told = "too many requests from this address did not prove themselves"
            raise Problem(429, told, {"retry-after": str(wait_s)})

    def failed(self, guesser: Guesser) -> None:
        """Count one that did not prove itself."""
        self._failed[guesser] = (self._count(guesser) + 1, self._now())
        self._failed.move_to_end(guesser)
        if len(self._failed) > MAX_KEPT:
            self._failed.popitem(last=False)

    def _count(self, guesser: Guesser) -> float:
        count, at = self._failed.get(guesser, (0.0, 0.0))
        return max(0.0, count - (self._now() - at) / EVERY_S)
