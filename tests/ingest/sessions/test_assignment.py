"""The fair share, played through with replicas that come and go."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.sessions.assignment import rebalance

ME = "me"


def round_of(held: dict[str, set[int]], slots: int) -> bool:
    """Let each replica take one step in turn; a slot that two want goes to the first. Say whether something moved."""
    moved = False
    for me, mine in held.items():
        holders = {slot: one for one, theirs in held.items() for slot in theirs}
        moves = rebalance(me, mine, holders, held.keys(), slots)
        mine.difference_update(moves.release)
        taken = {slot for theirs in held.values() for slot in theirs}
        mine.update(slot for slot in moves.acquire if slot not in taken)
        moved = moved or bool(moves.acquire or moves.release)
    return moved


def settle(held: dict[str, set[int]], slots: int) -> None:
    rounds = 0
    while round_of(held, slots):
        rounds += 1
        assert rounds <= 2 * slots + 2, "it does not come to rest"


@given(
    st.integers(1, 32),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.integers(1, 32),
)
def test_every_slot_is_held_and_no_replica_has_two_more_than_another(slots, places, later_slots):
    held: dict[str, set[int]] = {}
    for place in places:
        name = f"r{place}"
        if name in held and len(held) > 1:
            del held[name]
        else:
            held.setdefault(name, set())
        settle(held, slots)
    settle(held, later_slots)
    shares = sorted(len(mine) for mine in held.values())
    assert sorted(slot for mine in held.values() for slot in mine) == list(range(later_slots))
    assert shares[-1] - shares[0] <= 1


def test_a_replica_alone_takes_all_at_once():
    assert rebalance(ME, set(), {}, {ME}, 4) == ([0, 1, 2, 3], [])


def test_what_is_in_excess_goes_one_at_a_time_and_slot_0_last():
    assert rebalance(ME, {0, 1, 2, 3}, dict.fromkeys(range(4), ME), {ME, "other"}, 4) == ([], [3])


def test_a_standby_takes_nothing_from_the_one_that_works():
    assert rebalance("other", set(), {0: ME}, {ME, "other"}, 1) == ([], [])
    assert rebalance(ME, {0}, {0: ME}, {ME, "other"}, 1) == ([], [])


def test_a_replica_that_reaches_no_broker_leaves_its_slots_to_the_living():
    assert rebalance(ME, {0}, {0: ME}, {"other"}, 1) == ([], [0])
    assert rebalance("other", set(), {}, {"other"}, 2) == ([0, 1], [])
