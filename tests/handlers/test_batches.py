"""Arrays of telemetry and what a backlog dates, at both sides of each bound."""

from dataclasses import replace

import pytest

from handlers.dialects.plain import decode
from handlers.events import SECOND, Decoded
from tests.handlers.test_plain import NOW, OFFLINE, ONLINE, context, decoded, one, publish


def test_a_thousand_entries_are_one_message_and_one_more_is_dead() -> None:
    assert len(decoded("[" + ",".join(["{}"] * 1000) + "]").observations) == 1000
    dead = decoded("[" + ",".join(["{}"] * 1001) + "]").dead
    assert dead is not None
    assert "1001 entries: send at most 1000" in dead.error


def test_an_empty_array_says_nothing_and_one_without_any_object_is_dead() -> None:
    assert decoded("[]") == Decoded()
    assert decoded("[1, 2]").dead is not None


@pytest.mark.parametrize(
    "liveness, heard_until, times, seen",
    [
        (False, None, (-1, 0), (0, 0)),
        (False, -10, (-11, -10), (0, -10)),
        (False, -10, (-1, 0), (-1, 0)),
        (False, -10, (0, 1), (0, 0)),
        (True, None, (-11, 1), (-11, 1)),
    ],
)
def test_entries_of_a_backlog_are_present_at_their_own_times_while_all_was_heard(
    liveness: bool, heard_until: int | None, times: tuple[int, int], seen: tuple[int, int]
) -> None:
    body = f'[{{"ts": {NOW + times[0]}}}, {{"ts": {NOW + times[1]}}}]'
    heard = None if heard_until is None else NOW + heard_until
    result = decode(publish(body), context(event_time=liveness), heard)
    assert [one.seen_at - NOW for one in result.observations] == list(seen)
    assert [one.at - NOW for one in result.observations] == list(times)


@pytest.mark.parametrize("ts, seen", [(-11, 0), (-10, -10), (0, 0), (1, 0)])
def test_one_message_of_a_backlog_is_present_at_its_own_time_while_all_was_heard(ts: int, seen: int) -> None:
    result = decode(publish(f'{{"ts": {NOW + ts}}}'), context(), NOW - 10)
    assert (one(result).at - NOW, one(result).seen_at - NOW) == (ts, seen)


def test_a_retained_offline_is_of_the_beginning_of_the_gap_and_a_retained_online_is_not() -> None:
    of_gap = replace(context(), gap_since=NOW - 50 * SECOND)
    seen = {
        word: one(decode(publish(word, "status", retain=True), of_gap, None)).seen_at
        for word in (ONLINE, OFFLINE)
    }
    assert seen == {ONLINE: NOW, OFFLINE: NOW - 50 * SECOND}


def test_a_batch_with_one_clock_that_is_not_usable_is_skewed() -> None:
    assert decoded(f'[{{"ts": 5}}, {{"ts": {NOW}}}]').skewed
    assert not decoded(f'[{{"ts": {NOW - 1}}}, {{"ts": {NOW}}}, {{}}]').skewed
