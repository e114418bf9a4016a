"""The times of the entries of one message, from its devices' clock and their order.

Whether a clock is usable is decided once a message, by its newest time. Entries without a time, or with the same one,
count in their order: the last one gets it, and each earlier one is a microsecond older.
"""

from collections.abc import Sequence
from typing import NamedTuple

from handlers.events import MAX_AT, MIN_AT, Liveness, Micros
from handlers.timestamps import device_usable

_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments."""


class Age(NamedTuple):
    """When one entry was measured: `at`; `time` is its own time where the device's clock counts.

    `lag`: how much before the message's last entry it stands in its order, 1 us an entry.
    """

    at: Micros
    time: Micros | None
    skewed: bool
    lag: Micros


def ages(times: Sequence[Micros | None], base: Micros, received_at: Micros, liveness: Liveness) -> list[Age]:
    """Return the age of each entry; one without a usable time of its own is of `base`, the message's time."""
    last = times[-1] if times else None
    if last is not None and _ascend(times) and device_usable(last, received_at, liveness):
        return [_new(Age, (time, time, False, len(times) - 1 - place)) for place, time in enumerate(times)]
    newest = max((time for time in times if time is not None), default=None)
    trusted = newest is None or device_usable(newest, received_at, liveness)
    own = [time if trusted and time is not None and time >= MIN_AT else None for time in times]
    places = _places(times, base) if trusted else _carried(times)
    found: list[Age | None] = [None] * len(times)
    before = MAX_AT + 1
    for index in sorted(range(len(times)), key=lambda one: (places[one], one), reverse=True):
        usable = own[index]
        at = max(MIN_AT, min(base if usable is None else usable, before - 1))
        skewed = usable is None and times[index] is not None
        found[index] = Age(at, usable, skewed, len(times) - 1 - index)
        before = at
    return [age for age in found if age is not None]


def _ascend(times: Sequence[Micros | None]) -> bool:
    """Return whether each entry has a time that is later than the one before it: then nothing is to be put in order."""
    before = MIN_AT - 1
    for time in times:
        if time is None or time <= before:
            return False
        before = time
    return True


def _places(times: Sequence[Micros | None], base: Micros) -> list[Micros]:
    """Return what orders entries whose clock counts: those without a time are of the message's."""
    return [base if time is None else time for time in times]


def _carried(times: Sequence[Micros | None]) -> list[Micros]:
    """Return what orders entries whose clock does not count: those without a time stay behind the one before them."""
    places: list[Micros] = []
    for time in times:
        places.append(time if time is not None else places[-1] if places else -MAX_AT)
    return places
