"""Assignment of slots to replicas: a fair share for each, computed from what all of them hold. Pure."""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple


class Moves(NamedTuple):
    """The slots that a replica acquires and releases now."""

    acquire: list[int]
    release: list[int]


def rebalance(
    me: str, mine: AbstractSet[int], holders: Mapping[int, str], replicas: AbstractSet[str], slots: int
) -> Moves:
    """Return the next moves of replica `me`, which runs `mine`; `holders` says who holds which of the `slots`.

    Each of the living `replicas` gets slots / replicas, rounded down or up. A replica takes what is free up to that; it
    lets go one at a time what it has beyond, and slots that are none any more. Once each has its share nothing moves.
    """
    beyond = sorted(slot for slot in mine if slot >= slots)
    kept = sorted(slot for slot in mine if slot < slots)
    free = [slot for slot in range(slots) if slot not in mine and slot not in holders]
    least, rest = divmod(slots, len(replicas)) if me in replicas else (0, 0)
    most = least + bool(rest)
    if len(kept) < most:
        return Moves(free[: most - len(kept)], beyond)
    held = Counter(holder for slot, holder in holders.items() if slot < slots)
    held[me] = len(kept)
    richest = max((held[one], one) for one in (*replicas, me))[1]
    starving = not free and min(held[one] for one in replicas) < least
    if len(kept) > most or (len(kept) > least and starving and richest == me):
        return Moves([], [*beyond, kept[-1]])
    return Moves([], beyond)
