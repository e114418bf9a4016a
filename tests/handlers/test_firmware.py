"""The history of firmware: one install a change, dated by the earliest sighting of the day."""

from handlers.firmware import DAY, FirmwareEvidence, Install, history

MORNING = 20_000 * DAY + 6 * DAY // 24


def of(*sightings: tuple[str, int]) -> FirmwareEvidence:
    (version, at), *others = sightings
    evidence = FirmwareEvidence(version, at)
    for version, at in others:
        evidence.add(version, at)
    return evidence


def test_a_version_is_installed_when_it_was_first_seen() -> None:
    assert history(of(("1", MORNING), ("1", MORNING - 5), ("1", MORNING + 5))) == [Install(MORNING - 5, "1")]


def test_each_change_is_one_install_in_order_of_time() -> None:
    seen = of(("2", MORNING + DAY), ("1", MORNING), ("1", MORNING + DAY + 9))
    assert history(seen) == [
        Install(MORNING, "1"),
        Install(MORNING + DAY, "2"),
        Install(MORNING + DAY + 9, "1"),
    ]


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = 20_001 * DAY
    assert set(of(("1", midnight - 1), ("1", midnight)).points.values()) == {midnight - 1, midnight}
    assert set(of(("1", midnight), ("1", midnight + DAY - 1)).points.values()) == {midnight}
    assert DAY == 24 * 60 * 60 * 1_000_000


def test_the_newest_version_counts_and_at_a_tie_the_later_text() -> None:
    assert of(("b", 5), ("a", 6)).version == "a"
    assert of(("a", 5), ("b", 5)).version == of(("b", 5), ("a", 5)).version == "b"
    assert (of(("a", 5), ("b", 4)).version, of(("a", 5), ("b", 4)).at) == ("a", 5)
