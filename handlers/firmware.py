"""Firmware history: a row per change, as runs over bounded points.

The points of a component are the earliest `at` of each version on each UTC day, and the newest observation. They are a
function of the set of observations, and so are the runs over them. What is lost by keeping only these: a version that
came back on the same UTC day is dated by the newest observation of it, until the next day pins it.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from handlers.events import Micros

DAY: Micros = 86_400_000_000


class FirmwareEvidence:
    """What was seen of one component: the newest observation, and the earliest of each version on each UTC day."""

    __slots__ = ("at", "points", "version")

    def __init__(self, version: str, at: Micros) -> None:
        self.version = version
        self.at = at
        self.points: dict[tuple[str, int], Micros] = {(version, at // DAY): at}

    def add(self, version: str, at: Micros) -> None:
        """Take in one sighting; the newest wins, ties by version in code point order (Postgres: COLLATE "C")."""
        if (at, version) > (self.at, self.version):
            self.version, self.at = version, at
        point = (version, at // DAY)
        known = self.points.get(point)
        if known is None or at < known:
            self.points[point] = at


class Install(NamedTuple):
    """One row of the history: `version` was first seen at `at` after another version, or after none."""

    at: Micros
    version: str


def history(evidence: FirmwareEvidence) -> list[Install]:
    """Return the installs in order of time."""
    points = {Install(at, version) for (version, _), at in evidence.points.items()}
    points.add(Install(evidence.at, evidence.version))
    return list(_heads(sorted(points)))


def _heads(points: list[Install]) -> Iterable[Install]:
    if points:
        yield points[0]
    for before, point in pairwise(points):
        if point.version != before.version:
            yield point
