"""Firmware history: a row per change, as runs over bounded points.

The points of a component are the earliest `at` of each version on each UTC day, and the newest observation. They are a
function of the set of observations, and so are the runs over them. What is lost by keeping only these: a version that
came back on the same UTC day is dated by the newest observation of it, until the next day pins it.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from handlers.events import Micros
from handlers.evidence import FirmwareEvidence


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
