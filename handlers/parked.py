"""The evidence of an id without a row as it is stored: JSON, of a bounded size whatever the id has said."""

from typing import Any

from handlers.evidence import Evidence
from handlers.sequences import Stream

MAX_PARKED_RUNS = 32
MAX_PARKED = 64
"""Readings, sightings of firmware, facts and streams that are kept of an id without a row, of each the newest: it may
invent as many names as it likes."""


def to_parked(evidence: Evidence) -> dict[str, Any]:
    """Return what `from_parked` takes: of each list the newest MAX_PARKED, or MAX_PARKED_RUNS."""
    sightings = [
        [component, version, at]
        for component, seen in evidence.firmware.items()
        for version, at in [*((v, at) for (v, _), at in seen.points.items()), (seen.version, seen.at)]
    ]
    facts = [[field, at, text] for field, (at, text) in evidence.facts.items()]
    return {
        "online": evidence.online[-MAX_PARKED_RUNS:],
        "offline_at": evidence.offline_at,
        "snapshot_online_at": evidence.snapshot_online_at,
        "snapshot_offline_at": evidence.snapshot_offline_at,
        "battery": evidence.battery,
        "signal": evidence.signal,
        "firmware": _newest(sightings, 2),
        "readings": _newest([[name, *reading] for name, reading in evidence.readings.items()], 1),
        "marks": evidence.marks,
        "dropped_marks": evidence.dropped_marks,
        "streams": _newest([[window, stream.to_json()] for window, stream in evidence.streams.items()], 0),
        "facts": _newest(facts, 1),
    }


def from_parked(form: dict[str, Any]) -> Evidence:
    """Return the evidence that `to_parked` wrote."""
    evidence = Evidence()
    evidence.online = [(first, last) for first, last in form["online"]]
    evidence.offline_at = form["offline_at"]
    evidence.snapshot_online_at = form["snapshot_online_at"]
    evidence.snapshot_offline_at = form["snapshot_offline_at"]
    evidence.battery = tuple(form["battery"]) if form["battery"] else None
    evidence.signal = tuple(form["signal"]) if form["signal"] else None
    for component, version, at in form["firmware"]:
        evidence.add_firmware(component, version, at)
    for name, at, value, unit in form["readings"]:
        evidence.add_reading(name, (at, value, unit))
    evidence.marks = [(at, online) for at, online in form["marks"]]
    evidence.dropped_marks = form["dropped_marks"]
    for window, stream in form["streams"]:
        evidence.add_stream(window, Stream.from_json(stream))
    for field, at, text in form["facts"]:
        evidence.add_fact(field, at, text)
    return evidence


def _newest(said: list[Any], place: int) -> list[Any]:
    """Return the newest MAX_PARKED of these, whose time is at `place`."""
    return sorted(said, key=lambda one: one[place])[-MAX_PARKED:] if len(said) > MAX_PARKED else said
