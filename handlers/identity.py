"""Identity: choose the row that an event means out of those that its keys name, in one order for every input.

Where an external id was bound before, that decides and nothing here is asked. Else the row with that external id, the
one with the serial number and the one with a hardware id must be the same.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import UUID

from handlers.events import DeviceKey

How = Literal["external", "serial", "hardware"]


class Candidate(NamedTuple):
    """A row that one key of an event names; candidates come oldest row first."""

    device_id: UUID
    how: How


class Match(NamedTuple):
    """The row that is meant, or None.

    `duplicates`: younger rows of the platform with the same external id. `conflicting`: rows of which the event's keys
    name several, so that none of them is meant.
    """

    device_id: UUID | None = None
    duplicates: tuple[UUID, ...] = ()
    conflicting: tuple[UUID, ...] = ()


def match(candidates: Iterable[Candidate]) -> Match:
    """Choose among the candidates of one event."""
    first: dict[How, UUID] = {}
    duplicates: list[UUID] = []
    for device_id, how in candidates:
        oldest = first.setdefault(how, device_id)
        if how == "external" and device_id != oldest:
            duplicates.append(device_id)
    rows = set(first.values())
    if len(rows) > 1:
        return Match(conflicting=tuple(sorted(rows)))
    return Match(next(iter(rows), None), tuple(duplicates))


def label(key: DeviceKey) -> str:
    """Return the name by which people know a key: its external id, else serial number, else first hardware id."""
    return key.external_id or key.serial_number or next(iter(key.hardware_ids), "")
