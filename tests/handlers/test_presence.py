"""Status and the last_seen columns out of coalesced evidence, at both sides of each bound."""

import pytest

from handlers.events import SECOND, Micros, Presence
from handlers.evidence import Evidence
from handlers.presence import PresenceRow, presence
from tests.strategies import OFFLINE_AFTER, START

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


def at(seconds: float) -> Micros:
    return START + round(seconds * SECOND)


def row(
    online: list[float] = [],  # noqa: B006
    offline: float | None = None,
    snapshot_online: float | None = None,
    snapshot_offline: float | None = None,
    heard: tuple[float | None, float | None] = (None, None),
) -> tuple[Presence | None, float | None, float | None]:
    """The row of what was heard at these seconds, as (status, last_seen_online, last_seen_offline) in seconds."""
    evidence = Evidence()
    for second in online:
        evidence.add_online(at(second), at(second))
    evidence.offline_at = None if offline is None else at(offline)
    evidence.snapshot_online_at = None if snapshot_online is None else at(snapshot_online)
    evidence.snapshot_offline_at = None if snapshot_offline is None else at(snapshot_offline)
    since, until = (None if second is None else at(second) for second in heard)
    found = presence(evidence, OFFLINE_AFTER, until, since)
    status, *times = found
    return status, *(None if time is None else (time - START) / SECOND for time in times)  # type: ignore[return-value]


def test_a_device_of_which_nothing_was_heard_has_no_presence() -> None:
    assert presence(Evidence(), OFFLINE_AFTER, None) == PresenceRow(None, None, None)


@pytest.mark.parametrize(
    "heard, wanted",
    [
        ((None, None), (ONLINE, 0, None)),
        ((None, 900), (ONLINE, 0, None)),
        ((None, 900.000001), (OFFLINE, 0, 900)),
        ((-50, 900.000001), (OFFLINE, 0, 900)),
        ((100, 1000), (ONLINE, 0, None)),
        ((100, 1000.000001), (OFFLINE, 0, 1000)),
    ],
)
def test_a_device_falls_silent_offline_after_the_time_from_which_it_could_be_heard(heard, wanted) -> None:
    assert row([0], heard=heard) == wanted


@pytest.mark.parametrize(
    "offline, wanted", [(9, (ONLINE, 10, 9)), (10, (OFFLINE, 10, 10)), (11, (OFFLINE, 10, 11))]
)
def test_the_newest_word_decides_and_offline_does_at_a_tie(offline, wanted) -> None:
    assert row([10], offline) == wanted


def test_a_device_that_said_offline_does_not_fall_silent_as_well() -> None:
    assert row([10], 11, heard=(None, 5000)) == (OFFLINE, 10, 11)
    assert row([], 11, heard=(None, 5000)) == (OFFLINE, None, 11)


@pytest.mark.parametrize(
    "offline, snapshot, status",
    [
        (None, 11, OFFLINE),
        (None, 10, ONLINE),
        (None, 9, ONLINE),
        (5, 11, ONLINE),
    ],
)
def test_a_retained_offline_counts_where_it_is_newer_than_everything_and_no_live_one_is_known(
    offline, snapshot, status
) -> None:
    assert row([10], offline, snapshot_offline=snapshot) == (status, 10, offline)


def test_the_quiet_after_a_retained_offline_is_no_silence() -> None:
    assert row([10], snapshot_offline=11, heard=(None, 5000)) == (OFFLINE, 10, None)


@pytest.mark.parametrize(
    "online, offline, heard_until, wanted",
    [
        (0, None, None, (ONLINE, None, None)),
        (0, None, 900, (ONLINE, None, None)),
        (0, None, 900.000001, (OFFLINE, None, 900)),
        (None, 0, 5000, (OFFLINE, None, None)),
        (5, 0, 5000, (OFFLINE, None, None)),
    ],
)
def test_retained_words_alone_give_a_status_and_never_a_time_online(
    online, offline, heard_until, wanted
) -> None:
    assert row(snapshot_online=online, snapshot_offline=offline, heard=(None, heard_until)) == wanted


@pytest.mark.parametrize(
    "offline, heard_until, wanted",
    [
        (None, 2500, 900),
        (None, None, None),
        (None, 900, None),
        (None, 900.000001, 900),
        (-1, 2500, 900),
        (0, 2500, 0),
        (500, 2500, 500),
        (1500, 2500, 1500),
    ],
)
def test_the_silence_before_the_newest_run_is_the_last_time_offline_unless_offline_was_said_by_then(
    offline, heard_until, wanted
) -> None:
    assert row([0, 2000], offline, heard=(None, heard_until)) == (ONLINE, 2000, wanted)


def test_a_device_was_last_seen_at_the_end_of_its_newest_run() -> None:
    assert row([0, 5, 12], heard=(None, 900)) == (ONLINE, 12, None)
    assert row([0, 2000, 2009], heard=(None, 2909.000001)) == (OFFLINE, 2009, 2909)
