"""Parked evidence survives being stored, and what is stored is bounded."""

from collections.abc import Iterable

import orjson
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import SECOND, Observation
from handlers.evidence import Evidence
from handlers.parked import MAX_PARKED, MAX_PARKED_RUNS, from_parked, to_parked
from handlers.sequences import Stream
from tests.strategies import START, observations
from tests.streams import of_streams


def of(said: Iterable[Observation]) -> Evidence:
    evidence = Evidence()
    for one in said:
        evidence.add(one)
    return evidence


def stored(evidence: Evidence) -> bytes:
    return orjson.dumps(to_parked(evidence))


def restored(evidence: Evidence) -> Evidence:
    return from_parked(orjson.loads(stored(evidence)))


@given(st.lists(observations(), max_size=8), of_streams(), st.lists(observations(), max_size=8))
def test_stored_and_read_it_says_the_same_and_goes_on_the_same(
    said: list[Observation], stream: list[Observation], later: list[Observation]
) -> None:
    whole, parked = of([*said, *stream]), restored(of([*said, *stream]))
    whole.add_fact("name", START, '"d"')
    parked.add_fact("name", START, '"d"')
    whole.merge(of(later))
    parked.merge(of(later))
    assert stored(restored(parked)) == stored(whole)


def test_however_much_was_said_the_newest_of_it_is_stored() -> None:
    evidence = Evidence()
    for n in range(1_000):
        at = START + n * 60 * SECOND
        evidence.add_online(at, at)
        evidence.add_reading(f"r{n}", (at, 1.0, "C"))
        evidence.add_fact(f"f{n}", at, "1")
        evidence.add_firmware("main", f"v{n}", at)
    form = to_parked(evidence)
    assert {name: len(said) for name, said in form.items() if isinstance(said, list) and said} == {
        "online": MAX_PARKED_RUNS,
        "readings": MAX_PARKED,
        "facts": MAX_PARKED,
        "firmware": MAX_PARKED,
    }
    newest = START + 999 * 60 * SECOND
    assert form["online"][-1] == (newest, newest)
    assert form["readings"][-1][0] == "r999"
    assert restored(evidence).firmware["main"].version == "v999"


def test_of_runs_32_are_stored_and_of_every_other_list_64() -> None:
    assert (MAX_PARKED_RUNS, MAX_PARKED) == (32, 64)
    evidence = Evidence()
    for n in reversed(range(64)):
        evidence.add_reading(f"r{n}", (START + n, 1.0, "C"))
        evidence.add_fact(f"f{n}", START + n, "1")
    assert len(to_parked(evidence)["readings"]) == len(to_parked(evidence)["facts"]) == 64
    evidence.add_reading("newest", (START + 99, 1.0, "C"))
    evidence.add_fact("newest", START + 99, "1")
    form = to_parked(evidence)
    assert [form["readings"][place][0] for place in (0, -1)] == ["r1", "newest"]
    assert [form["facts"][place][0] for place in (0, -1)] == ["f1", "newest"]


def test_streams_of_many_windows_are_stored_by_the_largest() -> None:
    evidence = Evidence()
    for window in range(70):
        evidence.add_stream(window, Stream())
    assert [window for window, _ in to_parked(evidence)["streams"]] == list(range(6, 70))


def test_of_sightings_of_firmware_the_newest_are_stored() -> None:
    evidence = Evidence()
    for n in range(70):
        evidence.add_firmware(f"c{n:02}", f"{70 - n:02}", START + n)
    kept = to_parked(evidence)["firmware"]
    assert (len(kept), kept[-1]) == (64, ["c69", "01", START + 69])
