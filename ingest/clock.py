"""received_at: the wall clock, made strictly increasing so that it orders what this process received."""

import time

from handlers.events import Micros


class StrictClock:
    """A `Clock`: call it for the time in microseconds, never the same twice and never backwards."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: Micros = 0

    def resume(self, newest: Micros) -> None:
        """Go on after `newest`, a time that was given out before: the wall clock may have been set back since."""
        self._last = max(self._last, newest)

    def __call__(self) -> Micros:
        """Return max(now, last + 1)."""
        now = time.time_ns() // 1000
        if now <= self._last:
            now = self._last + 1
        self._last = now
        return now
