"""Messages without a time of their own: the tables' word on them, compared with the pure rules.

Such a message has the time at which it was received, which only the tables know. It carries its number twice: as a
version, whose first row in the history is when it was applied first, and as the name of a reading, whose clock is when
it was applied last. Where the two differ it was applied twice. An offline carries no number, but each that counts is a
row of the timeline. With these times the pure rules must give the same row, and the same timeline.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from handlers.events import DeviceKey, Observation
from handlers.evidence import Evidence, coalesce
from tests.faults.rows import Row, row_of
from tests.faults.workload import OFFLINE, Certainty, Message

Decode = Callable[[int, int], tuple[Observation, ...]]
"""What a number says that was received at a time."""
Transition = tuple[str, int]


class Applied(NamedTuple):
    """When a number was applied, in microseconds since 1970; None where the row does not say."""

    first_at: int | None
    last_at: int | None


def applied(row: Row) -> dict[int, Applied]:
    """Return the numbers that a device's row tells of."""
    firsts: dict[int, int] = {}
    for _, at, version, _ in row.installs:
        number = int(version[1:])
        firsts[number] = min(at, firsts.get(number, at))
    lasts = {int(name[1:]): at for name, _, at in row.readings}
    return {
        number: Applied(firsts.get(number), lasts.get(number)) for number in sorted(firsts.keys() | lasts)
    }


def wrong_times(
    found: Mapping[int, Applied], said: Iterable[int], maybe_missing: Set[int], maybe_doubled: Set[int]
) -> list[str]:
    """Return a line for each number that is missing, was applied twice or by half, or was never said."""
    said = set(said)
    wrong = [f"number {n} was never said" for n in found.keys() - said - maybe_missing - maybe_doubled]
    wrong += [f"number {n} is missing" for n in said - found.keys() - maybe_missing]
    for number, (first_at, last_at) in found.items():
        if first_at is None or last_at is None:
            wrong.append(f"number {number} was applied by half: {first_at}, {last_at}")
        elif first_at != last_at and number not in maybe_doubled:
            wrong.append(f"number {number} was applied twice, {(last_at - first_at) / 1e6:.3f} s apart")
    return wrong


def observed(found: Mapping[int, Applied], decode: Decode) -> list[Observation]:
    """Return what these numbers said at these times."""
    times = [(number, at) for number, applied in found.items() for at in {*applied} if at is not None]
    return [one for number, at in times for one in decode(number, at)]


def wrong_row(name: str, row: Row, said: Iterable[Observation]) -> list[str]:
    """Return what of a device's row is not what the pure rules make of what it said."""
    devices: dict[DeviceKey, Evidence] = {}
    coalesce(said, devices)
    wanted = row_of(*(devices.values() or [Evidence()]))
    return [] if row == wanted else [f"row {name}: found {row}, wanted {wanted}"]


def transitions(said: Iterable[Observation]) -> list[Transition]:
    """Return when the device came and went, offline to begin with."""
    moments = sorted((one.seen_at, str(one.presence)) for one in said if one.presence)
    pairs = pairwise([(0, "offline"), *moments])
    return [(kind, at) for (_, before), (at, kind) in pairs if before != kind]


def wrong_goings(
    name: str, went: int, said: Sequence[Message], found: Container[int], certainty: Certainty
) -> list[str]:
    """Return what is wrong with how often a device went; `said`: all its messages in order, online at first.

    That it went is seen where it was there before: where the message before the offline was applied.
    """
    least = most = 0
    for before, message in pairwise(said):
        if message.payload == OFFLINE:
            least += message.number not in certainty.maybe_missing and before.number in found
            most += 1 + (message.number in certainty.maybe_doubled)
    return [] if least <= went <= most else [f"{name} went {went} times, not {least} to {most}"]


def said_again(row: Row, said: Sequence[Message], certainty: Certainty) -> list[int]:
    """Return when a device that was away went again: no row of the timeline, but the row's clock, and only in doubt."""
    in_doubt = any(one.payload == OFFLINE and one.number in certainty.maybe_doubled for one in said)
    return [row.last_seen_offline] if in_doubt and row.last_seen_offline is not None else []
