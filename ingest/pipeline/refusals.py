"""How often the database refused an entry lately: a few are bad data, many for one reason are an outage."""

from collections import Counter, deque

WATCHED = 2_000
"""The entries over which refusals are counted: more than 1 % (and 10) of them for one reason is an outage."""


class Refusals:
    """The last WATCHED entries: accepted, or refused with an SQLSTATE."""

    def __init__(self) -> None:
        self._last: deque[str | None] = deque(maxlen=WATCHED)
        self._counts: Counter[str] = Counter()

    def accepted(self, count: int) -> None:
        """Note entries that were committed."""
        if not self._counts and len(self._last) == WATCHED:
            return
        for _ in range(min(count, WATCHED)):
            self._note(None)

    def refused(self, sqlstate: str) -> None:
        """Note one that was not."""
        self._note(sqlstate)
        self._counts[sqlstate] += 1

    def too_many(self, sqlstate: str) -> bool:
        """Say whether one more for this reason would be an outage."""
        return self._counts[sqlstate] + 1 > max(10, len(self._last) // 100)

    def _note(self, what: str | None) -> None:
        if len(self._last) == WATCHED and (oldest := self._last[0]) is not None:
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._last.append(what)
