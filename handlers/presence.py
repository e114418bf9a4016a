"""Presence: the pure rule from coalesced evidence to status and the last_seen columns.

The SQL states the same rule, for one batch after another (`rollcall.write_devices`); the property tests compare them.
"""

from typing import NamedTuple

from handlers.events import Micros, Presence
from handlers.evidence import Evidence
from handlers.runs import former_runs


class Hearing(NamedTuple):
    """From when until when all that a device says would have been heard: [since, until). None: never."""

    since: Micros | None
    until: Micros | None


class PresenceRow(NamedTuple):
    """What the presence columns of a row must be. None where the column is NULL (or, for status, the default)."""

    status: Presence | None
    last_seen_online: Micros | None
    last_seen_offline: Micros | None


def presence(
    evidence: Evidence, offline_after: Micros, heard_until: Micros | None, heard_since: Micros | None = None
) -> PresenceRow:
    """Return the presence of a device after a sweep that could hear in [heard_since, heard_until) (None: never)."""
    hearing = Hearing(heard_since, heard_until)
    online_at = evidence.online[-1][1] if evidence.online else None
    offline_at = evidence.last_offline
    if online_at is None and offline_at is None:
        return _from_snapshots(evidence, offline_after, hearing)
    silent_at = None
    if online_at is not None and not _is_known_offline(evidence, online_at):
        silent_at = _silence(online_at, offline_after, hearing)
    return PresenceRow(
        _status(evidence, online_at, silent_at),
        online_at,
        silent_at or _last_offline(evidence, offline_after, hearing),
    )


def _is_known_offline(evidence: Evidence, online_at: Micros) -> bool:
    """Return whether something said offline after the newest evidence: then the quiet that follows is no silence.

    A retained `offline` may be the live one that is known already, so it counts only where none is.
    """
    if evidence.last_offline is not None:
        return evidence.last_offline >= online_at
    return evidence.snapshot_offline_at is not None and evidence.snapshot_offline_at > online_at


def _status(evidence: Evidence, online_at: Micros | None, silent_at: Micros | None) -> Presence:
    if online_at is None or silent_at is not None:
        return Presence.OFFLINE
    return Presence.OFFLINE if _is_known_offline(evidence, online_at) else Presence.ONLINE


def _from_snapshots(evidence: Evidence, offline_after: Micros, hearing: Hearing) -> PresenceRow:
    if evidence.snapshot_offline_at is not None:
        return PresenceRow(Presence.OFFLINE, None, None)
    if evidence.snapshot_online_at is None:
        return PresenceRow(None, None, None)
    silent_at = _silence(evidence.snapshot_online_at, offline_after, hearing)
    return PresenceRow(Presence.OFFLINE if silent_at else Presence.ONLINE, None, silent_at)


def _silence(last: Micros, offline_after: Micros, hearing: Hearing) -> Micros | None:
    """Return when a device that was heard `last` fell silent: not before it could have been heard, None if not yet."""
    silent_at = max(last, hearing.since or last) + offline_after
    return silent_at if hearing.until is not None and silent_at < hearing.until else None


def _last_offline(evidence: Evidence, offline_after: Micros, hearing: Hearing) -> Micros | None:
    """Return the larger of offline_at and the last true silence before the newest run.

    A silence is none where the device was already known to be offline when it began.
    """
    runs = former_runs(evidence.online, offline_after, hearing.since, hearing.until)
    if not runs:
        return evidence.last_offline
    _, last_alive, silent_at = runs[-1]
    if evidence.last_offline is not None and evidence.last_offline >= last_alive:
        return evidence.last_offline
    return silent_at
