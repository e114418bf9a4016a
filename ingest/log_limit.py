"""A limit for log lines about what senders do: one a minute and kind, however much comes."""

from collections.abc import Callable, Hashable
from time import monotonic

EVERY_S = 60.0
MAX_KINDS = 10_000
"""Kinds that are told apart; while there are more, further ones are not logged."""


class LogLimit:
    """Lets the first line of each kind through, then one every EVERY_S, and counts what happened between."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[Hashable, tuple[float, int]] = {}
        """When the kind was logged (seconds), and how often it happened since."""

    def count(self, kind: Hashable, happened: int = 1) -> int:
        """Count it; return how often it happened since the last line where one is due now, else 0."""
        now = self._clock()
        known = self._kinds.get(kind)
        if known is not None and now - known[0] < EVERY_S:
            self._kinds[kind] = known[0], known[1] + happened
            return 0
        if known is None and len(self._kinds) >= MAX_KINDS:
            self._kinds = {one: said for one, said in self._kinds.items() if now - said[0] < EVERY_S}
            if len(self._kinds) >= MAX_KINDS:
                return 0
        self._kinds[kind] = now, 0
        return happened + (known[1] if known else 0)
