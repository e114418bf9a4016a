"""Runs of online evidence: what touches is one run, and a silence needs somebody who could have heard."""

import pytest

from handlers.events import SECOND
from handlers.runs import FormerRun, Run, add, former_runs

GAP = 10 * SECOND


def runs(*seconds: tuple[int, int]) -> list[Run]:
    return [(first * SECOND, last * SECOND) for first, last in seconds]


@pytest.mark.parametrize("late, united", [(0, True), (1, False)])
def test_evidence_ten_seconds_apart_is_one_run_and_a_microsecond_more_makes_two(
    late: int, united: bool
) -> None:
    known = runs((100, 110))
    after = 110 * SECOND + GAP + late
    add(known, after, after)
    assert known == ([(100 * SECOND, after)] if united else [*runs((100, 110)), (after, after)])
    known = runs((100, 110))
    before = 100 * SECOND - GAP - late
    add(known, before, before)
    assert known == ([(before, 110 * SECOND)] if united else [(before, before), *runs((100, 110))])


def test_evidence_that_bridges_runs_makes_them_one_and_leaves_the_others() -> None:
    known = runs((0, 0), (100, 101), (120, 121), (140, 141), (500, 500))
    add(known, 109 * SECOND, 131 * SECOND)
    assert known == runs((0, 0), (100, 141), (500, 500))


def test_evidence_inside_a_run_changes_nothing() -> None:
    known = runs((100, 200), (500, 600))
    add(known, 150 * SECOND, 160 * SECOND)
    assert known == runs((100, 200), (500, 600))


@pytest.mark.parametrize(
    "second, heard_since, heard_until, silent_at",
    [
        (901, None, 1000, 900),
        (900, None, 1000, None),
        (2000, None, 900, None),
        (2000, None, 901, 900),
        (2000, None, None, None),
        (2000, 500, 1401, 1400),
        (2000, 500, 1400, None),
        (1400, 500, 9000, None),
        (1401, 500, 9000, 1400),
    ],
)
def test_a_run_ends_in_a_silence_where_its_quiet_was_long_enough_and_could_be_heard(
    second: int, heard_since: int | None, heard_until: int | None, silent_at: int | None
) -> None:
    since = None if heard_since is None else heard_since * SECOND
    until = None if heard_until is None else heard_until * SECOND
    ended = former_runs(runs((-5, 0), (second, second)), 900 * SECOND, since, until)
    assert ended == ([] if silent_at is None else [FormerRun(-5 * SECOND, 0, silent_at * SECOND)])


def test_runs_without_a_silence_between_them_are_one_until_the_next_silence() -> None:
    ended = former_runs(runs((0, 10), (100, 110), (5000, 5000)), 900 * SECOND, None, 9000 * SECOND)
    assert ended == [FormerRun(0, 110 * SECOND, 1010 * SECOND)]
