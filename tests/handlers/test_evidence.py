"""Coalesced evidence: of many observations the ones that a row depends on, whatever their order."""

from collections.abc import Callable

import pytest

from handlers.events import SECOND, DeviceKey, Facts, Observation, Presence, Reading
from handlers.evidence import Evidence
from handlers.sequences import Transition, aws_sequence
from tests.strategies import INTEGRATION, START

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


def said(second: int, presence: Presence | None = None, **more: object) -> Observation:
    at = START + second * SECOND
    return Observation(INTEGRATION, DeviceKey("d"), at, at, at, presence=presence, **more)  # type: ignore[arg-type]


def of(*observations: Observation) -> Evidence:
    evidence = Evidence()
    for observation in observations:
        evidence.add(observation)
    return evidence


def united(*observations: Observation) -> Evidence:
    """The same, each observation merged from evidence of its own."""
    evidence = Evidence()
    for observation in observations:
        evidence.merge(of(observation))
    return evidence


def seconds(*marks: tuple[int, bool]) -> list[tuple[int, bool]]:
    return [(START + second * SECOND, online) for second, online in marks]


def test_the_timeline_gets_each_going_and_the_first_coming_after_it() -> None:
    evidence = of(said(0, ONLINE), said(1, OFFLINE), said(2, ONLINE), said(3, ONLINE), said(4, OFFLINE))
    assert evidence.marks == seconds((1, False), (2, True), (4, False))
    assert evidence.offline_at == START + 4 * SECOND
    assert evidence.online == [(START, START + 3 * SECOND)]


def test_telemetry_after_a_going_is_a_coming() -> None:
    evidence = of(said(1, OFFLINE))
    for second in (2, 3):
        evidence.add_telemetry(START + second * SECOND, START + second * SECOND, 5, None)
    assert evidence.marks == seconds((1, False), (2, True))
    assert evidence.online == [(START + 2 * SECOND, START + 3 * SECOND)]


def test_a_device_that_only_ever_was_online_has_no_transitions() -> None:
    evidence = of(said(0, ONLINE), said(100, ONLINE))
    evidence.add_telemetry(START, START, None, None)
    assert list(evidence.marks) == []
    assert evidence.offline_at is None


@pytest.mark.parametrize("goings, kept, dropped", [(31, 31, 0), (32, 32, 0), (33, 32, 1), (40, 32, 8)])
def test_thirty_two_transitions_are_kept_and_the_others_counted(goings: int, kept: int, dropped: int) -> None:
    evidence = of(*(said(second, OFFLINE) for second in range(goings)))
    assert (len(evidence.marks), evidence.dropped_marks) == (kept, dropped)
    twice = Evidence.united(evidence, evidence)
    assert len(twice.marks) + twice.dropped_marks == 2 * goings


@pytest.mark.parametrize("gather", [of, united])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_retained_words_the_first_counts_and_of_live_offline_words_the_last(
    gather: Callable[..., Evidence], order: tuple[int, int]
) -> None:
    retained = gather(*(said(second, word, snapshot=True) for second in order for word in (ONLINE, OFFLINE)))
    assert retained.snapshot_online_at == retained.snapshot_offline_at == START + SECOND
    assert list(retained.online) == list(retained.marks) == []
    assert retained.offline_at is None
    live = gather(*(said(second, OFFLINE) for second in order))
    assert live.offline_at == START + 2 * SECOND


@pytest.mark.parametrize("gather", [of, united])
@pytest.mark.parametrize(
    "first, last, kept", [((1, 50), (2, 40), (2, 40)), ((1, 50), (1, 60), (1, 60)), ((1, 0), (0, 60), (1, 0))]
)
def test_the_newest_values_count_and_at_a_tie_the_larger(
    gather: Callable[..., Evidence], first: tuple[int, int], last: tuple[int, int], kept: tuple[int, int]
) -> None:
    second, value = kept
    at = START + second * SECOND
    for one, other in ((first, last), (last, first)):
        evidence = gather(
            *(
                said(
                    when,
                    battery_level=level,
                    signal_strength=level - 100,
                    readings=(Reading("t", level, "C"),),
                    facts=Facts(name=f"n{level:02}"),
                )
                for when, level in (one, other)
            )
        )
        assert (evidence.battery, evidence.signal) == ((at, value), (at, value - 100))
        assert evidence.readings == {"t": (at, value, "C")}
        assert evidence.facts == {"name": (at, f'"n{value:02}"')}


def test_a_value_that_was_not_said_leaves_the_one_that_was() -> None:
    evidence = united(said(1, battery_level=5), said(2, signal_strength=-7), said(3, ONLINE))
    assert evidence.battery == (START + SECOND, 5)
    assert evidence.signal == (START + 2 * SECOND, -7)


@pytest.mark.parametrize("gather", [of, united])
def test_evidence_closer_than_ten_seconds_is_one_run_in_any_order(gather: Callable[..., Evidence]) -> None:
    run = [(START, START + 20 * SECOND)]
    assert gather(said(0, ONLINE), said(10, ONLINE), said(20, ONLINE)).online == run
    assert gather(said(20, ONLINE), said(0, ONLINE), said(10, ONLINE)).online == run
    late = said(0, ONLINE)._replace(seen_at=START + 10 * SECOND + 1)
    assert len(gather(said(0, ONLINE), late).online) == 2
    assert len(gather(late, said(0, ONLINE)).online) == 2


def test_evidence_inside_the_newest_run_leaves_its_end() -> None:
    evidence = Evidence()
    evidence.add_online(START, START + 20 * SECOND)
    evidence.add_online(START + 5 * SECOND, START + 6 * SECOND)
    assert evidence.online == [(START, START + 20 * SECOND)]


def test_a_clouds_connection_events_are_judged_by_their_stream_and_not_by_their_times() -> None:
    evidence = Evidence()
    for second, presence, number in ((5, OFFLINE, 1), (1, ONLINE, 2)):
        evidence.add(said(second, presence, sequence=aws_sequence(number, presence)))
    assert evidence.online == [(START + SECOND, START + SECOND)]
    assert evidence.offline_at is None
    assert evidence.last_offline == START + SECOND - 1
    evidence.add(said(7, OFFLINE))
    assert evidence.last_offline == START + 7 * SECOND
    assert list(evidence.streams) == [300 * SECOND]
    assert isinstance(evidence.streams[300 * SECOND].head, Transition)


def test_uniting_keeps_the_later_quiet_and_changes_neither_side() -> None:
    one, other = of(said(0, ONLINE), said(1, OFFLINE)), of(said(5, ONLINE), said(2, OFFLINE))
    one.quiet_until, other.quiet_until = START, START + SECOND
    both = Evidence.united(one, other)
    assert both.quiet_until == START + SECOND
    assert both.online == [(START, START + 5 * SECOND)]
    assert both.marks == seconds((1, False), (2, False))
    assert (one.online, one.marks) == ([(START, START)], seconds((1, False)))
    assert other.marks == seconds((2, False))


def test_late_evidence_joins_the_older_run_that_it_belongs_to() -> None:
    evidence = of(said(0, ONLINE), said(1000, ONLINE), said(5, ONLINE), said(1005, ONLINE))
    assert evidence.online == [
        (START, START + 5 * SECOND),
        (START + 1000 * SECOND, START + 1005 * SECOND),
    ]
