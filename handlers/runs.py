"""Online evidence as runs: how long a device was alive without a silence.

Evidence at `t` covers [t, t + offline_after]. A run is evidence whose covers touch; it ends in a silence at
`last + offline_after`. Union is associative, commutative and idempotent, so the runs are a function of the set of
evidence, whatever the order, duplication and batching. Runs are sorted lists of (first, last), both inclusive.
"""

from bisect import bisect_left
from typing import NamedTuple

from handlers.events import SECOND, Micros

Run = tuple[Micros, Micros]

GRAIN: Micros = 10 * SECOND
"""Evidence closer than this is always one run; therefore the smallest offline_after."""


def add(runs: list[Run], first: Micros, last: Micros, gap: Micros = GRAIN) -> None:
    """Unite [first, last] with `runs` in place; runs at most `gap` apart become one."""
    index = bisect_left(runs, (first, first))
    while index > 0 and runs[index - 1][1] + gap >= first:
        index -= 1
    end = index
    while end < len(runs) and runs[end][0] <= last + gap:
        first = min(first, runs[end][0])
        last = max(last, runs[end][1])
        end += 1
    runs[index:end] = [(first, last)]


class FormerRun(NamedTuple):
    """A run that ended: its first and last evidence, and when the silence after it began."""

    first: Micros
    last: Micros
    silent_at: Micros


def former_runs(
    runs: list[Run], offline_after: Micros, heard_since: Micros | None, heard_until: Micros | None
) -> list[FormerRun]:
    """Return the runs before the newest one, as silences divide them.

    A silence begins `offline_after` after the last evidence, or after `heard_since` where that is later; one that would
    begin at or after `heard_until` is none, because nobody could have heard.
    """
    out: list[FormerRun] = []
    before: Run | None = None
    for first, last in runs:
        if before is not None:
            silent_at = max(before[1], heard_since or before[1]) + offline_after
            if first <= silent_at or heard_until is None or silent_at >= heard_until:
                first, last = before[0], max(last, before[1])
            else:
                out.append(FormerRun(*before, silent_at))
        before = first, last
    return out
