"""Streams that AWS and Azure can send, in any order, doubled and grouped: the presence is the truth."""

from functools import cmp_to_key
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import MAX_AT, SECOND, DeviceKey, Observation, Presence
from handlers.evidence import Evidence
from handlers.presence import presence
from handlers.sequences import AWS_WINDOW, Stream, Transition, aws_sequence, azure_sequence
from tests.strategies import INTEGRATION, START
from tests.streams import JITTER, MINUTE, OFFLINE, ONLINE, RESTART, streams


def of(events: list[Transition]) -> Stream:
    stream = Stream()
    for event in events:
        stream.add(event)
    return stream


def status(stream: Stream, events: list[Transition]) -> Presence | None:
    """What the row says after the connects as online evidence and the stream's offline time."""
    evidence = Evidence()
    for event in events:
        if event.presence is ONLINE:
            at = event.at
            evidence.add(Observation(INTEGRATION, DeviceKey("d"), at, at, at, "webhook", presence=ONLINE))
    evidence.offline_at = stream.offline_at
    return presence(evidence, 900 * SECOND, None).status


@given(streams, st.data())
def test_the_presence_is_the_truth_whatever_the_order_the_duplicates_and_the_groups(
    events: list[Transition], data: st.DataObject
) -> None:
    arrival = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(arrival)), max_size=4)))
    whole = Stream()
    for start, end in pairwise([0, *cuts, len(arrival)]):
        whole.merge(Stream.from_json(of(arrival[start:end]).to_json()))
    assert whole.to_json() == of(events).to_json()
    assert whole.head == events[-1]
    assert status(whole, arrival) is events[-1].presence


@given(streams, st.data())
def test_the_order_is_total_on_what_a_cloud_can_send(events: list[Transition], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    compare = cmp_to_key(lambda a, b: a.follows(b) - b.follows(a))
    assert sorted(shuffled, key=compare) == events


@given(streams)
def test_merging_is_commutative_and_idempotent(events: list[Transition]) -> None:
    left, right = of(events[::2]), of(events[1::2])
    left.merge(right)
    right.merge(of(events[::2]))
    right.merge(left)
    assert right.to_json() == left.to_json() == of(events).to_json()


def test_a_disconnect_told_late_by_a_session_that_was_taken_over_leaves_the_device_online() -> None:
    four_minutes_apart = [
        (ONLINE, START, 1),
        (ONLINE, START + JITTER, 2),
        (OFFLINE, START + MINUTE + 3 * JITTER, 1),
    ]
    events = [Transition(seen, at, aws_sequence(number, seen)) for seen, at, number in four_minutes_apart]  # type: ignore[arg-type]
    assert events[2].at - events[1].at == AWS_WINDOW
    stream = of(events)
    assert stream.offline_at == events[1].at - 1
    assert status(stream, events) is ONLINE


def test_the_number_that_starts_again_after_an_hour_counts_as_later() -> None:
    last, first = aws_sequence(57, OFFLINE), aws_sequence(0, ONLINE)
    assert last
    assert first
    stream = of([Transition(ONLINE, START + RESTART - 2 * JITTER, first), Transition(OFFLINE, START, last)])
    assert stream.offline_at == START


def test_the_disconnect_of_a_connection_comes_after_its_connect_whatever_their_times() -> None:
    connect, disconnect = aws_sequence(3, ONLINE), aws_sequence("3", OFFLINE)
    assert connect
    assert disconnect
    stream = of([Transition(OFFLINE, START, disconnect), Transition(ONLINE, START + JITTER, connect)])
    assert stream.offline_at == START + JITTER


def test_a_stream_that_heard_no_disconnect_says_nothing_about_offline_time() -> None:
    connect = aws_sequence(0, ONLINE)
    assert connect
    assert Stream().offline_at is None
    assert of([Transition(ONLINE, START, connect)]).offline_at is None
    assert Stream.from_json(Stream().to_json()).head is None


@pytest.mark.parametrize("version", [None, True, -1, 10**20, "x", "1.5", "", "٣", "9" * 21, 1.0, [1]])
def test_a_version_that_is_no_count_gives_no_sequence(version: object) -> None:
    assert aws_sequence(version, ONLINE) is None


@pytest.mark.parametrize("number", [None, "", "xyz", "0" * 65, 12, "-1", "1 2"])
def test_a_sequence_number_that_is_not_hexadecimal_gives_no_sequence(number: object) -> None:
    assert azure_sequence(number) is None


def test_sequence_numbers_of_any_length_and_case_compare_by_value() -> None:
    small, large = azure_sequence("ff"), azure_sequence("100")
    assert small
    assert large
    assert small.order < large.order
    assert azure_sequence("FF") == small


@pytest.mark.parametrize("late, last", [(0, ONLINE), (1, OFFLINE)])
def test_times_within_five_minutes_are_ordered_by_the_count_and_later_ones_by_themselves(
    late: int, last: Presence
) -> None:
    connect, disconnect = aws_sequence(2, ONLINE), aws_sequence(1, OFFLINE)
    assert connect
    assert disconnect
    events = [
        Transition(ONLINE, START, connect),
        Transition(OFFLINE, START + 300 * SECOND + late, disconnect),
    ]
    for arrival in (events, events[::-1]):
        head = of(arrival).head
        assert head
        assert head.presence is last


def test_azures_events_are_ordered_by_their_numbers_however_far_apart_they_are() -> None:
    first, second = azure_sequence("1"), azure_sequence("2")
    assert first
    assert second
    assert Transition(ONLINE, 0, second).follows(Transition(OFFLINE, MAX_AT, first))


def test_at_the_same_place_and_time_the_disconnect_is_later() -> None:
    same = azure_sequence("1")
    assert same
    assert Transition(OFFLINE, START, same).follows(Transition(ONLINE, START, same))
    assert not Transition(ONLINE, START, same).follows(Transition(OFFLINE, START, same))


def test_the_largest_count_and_the_longest_number_are_taken() -> None:
    largest = aws_sequence(10**20 - 1, OFFLINE)
    assert largest == aws_sequence("9" * 20, OFFLINE)
    assert largest
    assert (largest.window, largest.order) == (300 * SECOND, "9" * 20 + "1")
    assert aws_sequence(0, ONLINE) == (300 * SECOND, "0" * 21)
    assert azure_sequence("f" * 64) == (MAX_AT, "F" * 64)
    assert azure_sequence("f") == (MAX_AT, "0" * 63 + "F")
