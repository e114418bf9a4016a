"""The oracle sees what it is there to see: each number that is missing, doubled, applied by half, or was never said."""

import pytest

from handlers.events import DeviceKey
from handlers.evidence import Evidence, coalesce
from tests.faults.model import published
from tests.faults.numbered import (
    Applied,
    applied,
    observed,
    said_again,
    transitions,
    wrong_goings,
    wrong_row,
    wrong_times,
)
from tests.faults.rows import Row, row_of
from tests.faults.workload import OFFLINE, Certainty, Message

TOPIC = "devices/p1/connection"
START = 1_767_225_600_000_000
SAID = {n: b'{"status":"online","fw":"v%d","n%d":1}' % (n, n) for n in (1, 3, 5)}


def row(*heard: tuple[int, int]) -> Row:
    """What a device's row is after these numbers were applied at these times."""
    evidence: dict[DeviceKey, Evidence] = {}
    for number, at in heard:
        coalesce(published(TOPIC, SAID[number], START + at), evidence)
    return row_of(*evidence.values())


def found(*heard: tuple[int, int]) -> dict[int, Applied]:
    return applied(row(*heard))


ONCE = ((1, 10), (3, 20), (5, 30))


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        (ONCE, []),
        (ONCE[:2], ["number 5 is missing"]),
        ((*ONCE, (3, 40)), ["number 3 was applied twice, 0.000 s apart"]),
        ((*ONCE, (5, 2_000_030)), ["number 5 was applied twice, 2.000 s apart"]),
    ],
)
def test_each_number_was_applied_once(heard: tuple[tuple[int, int], ...], wrong: list[str]) -> None:
    assert wrong_times(found(*heard), SAID, set(), set()) == wrong


def test_what_is_in_doubt_may_be_missing_or_doubled_and_nothing_else_may() -> None:
    assert wrong_times(found((1, 10), (1, 15), (3, 20)), SAID, {5}, {1}) == []
    assert wrong_times(found((1, 10), (1, 15), (3, 20)), SAID, {1}, {5}) == [
        "number 5 is missing",
        "number 1 was applied twice, 0.000 s apart",
    ]


def test_a_number_that_was_never_said_or_of_which_only_a_part_is_there_is_seen() -> None:
    whole = row(*ONCE)
    assert wrong_times(applied(whole), {1, 3}, set(), set()) == ["number 5 was never said"]
    half = applied(whole._replace(readings=whole.readings[1:]))
    assert wrong_times(half, SAID, set(), set()) == [f"number 1 was applied by half: {START + 10}, None"]


def test_the_row_must_be_what_the_rules_make_of_the_numbers_at_their_times() -> None:
    twice = row(*ONCE, (3, 40))
    said = observed(applied(twice), lambda n, at: published(TOPIC, SAID[n], at))
    assert wrong_row("p1", twice, said) == []
    assert wrong_row("p1", twice._replace(last_seen_online=START + 30), said)
    assert wrong_row("p1", twice._replace(firmware_version="v5"), said)


def test_an_offline_that_was_lost_or_comes_twice_is_seen_in_the_timeline() -> None:
    said = [Message(TOPIC, SAID.get(n, OFFLINE), n) for n in range(1, 6)]
    certain, numbers = Certainty(), SAID.keys()
    assert wrong_goings("p1", 2, said, numbers, certain) == []
    assert wrong_goings("p1", 1, said, numbers, certain) == ["p1 went 1 times, not 2 to 2"]
    assert wrong_goings("p1", 3, said, numbers, certain) == ["p1 went 3 times, not 2 to 2"]
    assert wrong_goings("p1", 1, said, numbers, Certainty(maybe_missing={4})) == []
    assert wrong_goings("p1", 1, said, numbers - {3}, certain) == []


def test_an_offline_that_may_have_come_again_may_move_the_row_and_no_other_may() -> None:
    went = row(*ONCE)._replace(last_seen_offline=START + 50)
    said = [Message(TOPIC, OFFLINE, 2)]
    assert said_again(went, said, Certainty()) == []
    assert said_again(went, said, Certainty(maybe_doubled={2})) == [START + 50]


def test_transitions_are_the_changes_alone() -> None:
    heard = [*published(TOPIC, SAID[1], START + 1), *published(TOPIC, SAID[3], START + 2)]
    heard += published(TOPIC, OFFLINE, START + 3)
    assert transitions(heard) == [("online", START + 1), ("offline", START + 3)]
