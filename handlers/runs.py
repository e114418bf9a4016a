"""Online evidence as runs: how long a device was alive without a silence.

Evidence at `t` covers [t, t + offline_after]. A run is evidence whose covers touch; it ends in a silence at
`last + offline_after`. Union is associative, commutative and idempotent, so the runs are a function of the set of
evidence, whatever the order, duplication and batching. Runs are sorted lists of (first, last), both inclusive.
"""

from bisect import bisect_left

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


def widened(runs: list[Run], offline_after: Micros, heard_until: Micros | None) -> list[Run]:
    """Return the runs as silences divide them: at most `offline_after` apart is one run.

    A gap whose silence would begin at or after `heard_until` is none: we could not have heard.
    """
    out: list[Run] = []
    for first, last in runs:
        if out:
            silence_at = out[-1][1] + offline_after
            if first <= silence_at or heard_until is None or silence_at >= heard_until:
                out[-1] = (out[-1][0], max(last, out[-1][1]))
                continue
        out.append((first, last))
    return out
