"""The times of a batch: its order counts where clocks say nothing, and a clock that fell back freezes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.ages import ages
from handlers.events import DAY, MAX_AT, MIN_AT, SECOND, Liveness
from handlers.evidence import Evidence, coalesce
from handlers.firmware import history
from tests.handlers.test_plain import NOW, decoded, one

LIVE = Liveness()
TIMES = (
    st.none()
    | st.integers(0, 2 * NOW)
    | st.integers(NOW - 40 * DAY, NOW + 400 * SECOND)
    | st.integers(NOW - 3, NOW + 3)
)


def evidence(payload: str) -> Evidence:
    devices: dict = {}
    coalesce(decoded(payload).observations, devices)
    (seen,) = devices.values()
    return seen


@pytest.mark.parametrize("ts", ["", ',"ts":1767225599'])
def test_of_entries_without_times_or_with_the_same_the_last_counts_and_not_the_largest(ts: str) -> None:
    entries = ",".join(f'{{"battery":{battery},"temp":{battery}{ts}}}' for battery in (90, 80, 70))
    seen = evidence(f"[{entries}]")
    at = NOW - SECOND if ts else NOW
    assert seen.battery == (at, 70)
    assert seen.readings["temp"] == (at, 70.0, "")


def test_versions_of_one_message_are_in_its_order() -> None:
    seen = evidence('[{"fw":"1.9.0"},{"fw":"1.10.0"}]').firmware["main"]
    assert (seen.version, seen.at) == ("1.10.0", NOW)
    assert [(one.at, one.version) for one in history(seen)] == [(NOW - 1, "1.9.0"), (NOW, "1.10.0")]


def test_entries_out_of_order_count_by_their_times() -> None:
    assert evidence('[{"ts":1767225590,"battery":50},{"ts":1767225580,"battery":60}]').battery == (
        NOW - 10 * SECOND,
        50,
    )


@pytest.mark.parametrize("ts", ['"2020-01-01T00:00:05Z"', '"2024-03-05T00:00:05Z"', "1577836805", "188"])
def test_a_clock_that_fell_back_never_freezes_a_value(ts: str) -> None:
    result = decoded(f'{{"battery":15,"rssi":-99,"fw":"2.0","ts":{ts}}}')
    assert (one(result).at, result.skewed) == (NOW, True)


def test_a_clock_of_a_month_ago_is_a_backlog_and_no_fault() -> None:
    assert one(decoded(f'{{"battery":1,"ts":{NOW - 31 * DAY}}}')).at == NOW - 31 * DAY
    assert one(decoded(f'{{"battery":1,"ts":{NOW - 31 * DAY - SECOND}}}')).at == NOW


def test_older_entries_keep_their_times_where_the_newest_is_usable() -> None:
    times = [NOW - 90 * DAY, NOW - 60 * DAY, NOW - SECOND]
    assert [age.at for age in ages(times, NOW, NOW, LIVE)] == times
    assert not any(age.skewed for age in ages(times, NOW, NOW, LIVE))


def test_where_the_newest_is_not_usable_all_count_as_received_in_the_order_of_their_times() -> None:
    found = ages([NOW - 80 * DAY, None, NOW - 90 * DAY], NOW, NOW, LIVE)
    assert [age.at for age in found] == [NOW - 1, NOW, NOW - 2]
    assert [age.skewed for age in found] == [True, False, True]


def test_an_entry_from_before_its_clock_was_set_is_older_than_those_after() -> None:
    found = ages([3 * SECOND, NOW - 5 * SECOND, NOW - SECOND], NOW, NOW, LIVE)
    assert [age.at for age in found] == [NOW - 5 * SECOND - 1, NOW - 5 * SECOND, NOW - SECOND]
    assert [age.skewed for age in found] == [True, False, False]


@given(st.lists(TIMES, min_size=1, max_size=8))
def test_the_entries_of_a_message_have_times_of_their_own_in_one_order(times: list[int | None]) -> None:
    found = ages(times, NOW, NOW, LIVE)
    assert len({age.at for age in found}) == len(times)
    assert all(MIN_AT <= age.at <= min(MAX_AT, NOW + LIVE.max_ahead) for age in found)
    assert all(age.time is None or age.time == time for age, time in zip(found, times, strict=True))
    if all(time is None for time in times):
        assert [age.at for age in found] == [NOW - lag for lag in range(len(times) - 1, -1, -1)]


def test_entries_in_order_keep_their_times_and_know_how_far_before_the_last_they_stand() -> None:
    found = ages([NOW - 2, NOW - 1, NOW], NOW, NOW, LIVE)
    assert found == [(NOW - 2, NOW - 2, False, 2), (NOW - 1, NOW - 1, False, 1), (NOW, NOW, False, 0)]


def test_entries_of_one_time_are_a_microsecond_apart_and_the_last_one_has_it() -> None:
    found = ages([NOW, NOW, None], NOW, NOW, LIVE)
    assert [(age.at - NOW, age.lag, age.skewed) for age in found] == [
        (-2, 2, False),
        (-1, 1, False),
        (0, 0, False),
    ]


def test_a_time_of_2015_is_usable_and_one_before_counts_as_of_the_message() -> None:
    patient = Liveness(max_behind=100 * 366 * DAY)
    assert [age.at for age in ages([MIN_AT, NOW], NOW, NOW, patient)] == [MIN_AT, NOW]
    first, last = ages([None, MIN_AT], MIN_AT + 9, MIN_AT + 9, patient)
    assert (first.at, first.time, last.at, last.time) == (MIN_AT + 9, None, MIN_AT, MIN_AT)
    early, late = ages([MIN_AT - 1, NOW], NOW, NOW, patient)
    assert (early.at, early.time, early.skewed, late.at) == (NOW - 1, None, True, NOW)


def test_without_entries_there_are_no_ages() -> None:
    assert ages([], NOW, NOW, LIVE) == []


def test_an_entry_without_a_time_stays_behind_the_one_before_it_where_the_clock_does_not_count() -> None:
    found = ages([NOW - 80 * DAY, NOW - 90 * DAY, None], NOW, NOW, LIVE)
    assert [age.at - NOW for age in found] == [0, -2, -1]
    assert [age.at - NOW for age in ages([None, NOW - 90 * DAY], NOW, NOW, LIVE)] == [-1, 0]


def test_the_last_time_that_a_row_can_hold_is_a_time() -> None:
    assert [age.at for age in ages([None], MAX_AT, MAX_AT, LIVE)] == [MAX_AT]
