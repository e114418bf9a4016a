"""Presence: the pure rule from coalesced evidence to status and the last_seen columns. The SQL must agree with it."""

from typing import NamedTuple

from handlers.events import Micros, Presence
from handlers.evidence import Evidence
from handlers.runs import widened


class PresenceRow(NamedTuple):
    """What the presence columns of a row must be. None where the column is NULL (or, for status, the default)."""

    status: Presence | None
    last_seen_online: Micros | None
    last_seen_offline: Micros | None


def presence(evidence: Evidence, offline_after: Micros, heard_until: Micros | None) -> PresenceRow:
    """Return the presence of a device after a sweep that could hear up to `heard_until` (None: never heard)."""
    online_at = evidence.online[-1][1] if evidence.online else None
    offline_at = evidence.last_offline
    if online_at is None and offline_at is None:
        return _from_snapshots(evidence, offline_after, heard_until)
    silent_at = None
    if online_at is not None and not _is_known_offline(evidence, online_at):
        silent_at = _silence(online_at, offline_after, heard_until)
    return PresenceRow(
        _status(evidence, online_at, silent_at),
        online_at,
        silent_at or _last_offline(evidence, offline_after, heard_until),
    )


def _is_known_offline(evidence: Evidence, online_at: Micros) -> bool:
    """Tell whether something said offline after the newest evidence: then the quiet that follows is no silence."""
    said = evidence.last_offline, evidence.snapshot_offline_at
    return (said[0] is not None and said[0] >= online_at) or (said[1] is not None and said[1] > online_at)


def _status(evidence: Evidence, online_at: Micros | None, silent_at: Micros | None) -> Presence:
    if online_at is None or silent_at is not None:
        return Presence.OFFLINE
    return Presence.OFFLINE if _is_known_offline(evidence, online_at) else Presence.ONLINE


def _from_snapshots(evidence: Evidence, offline_after: Micros, heard_until: Micros | None) -> PresenceRow:
    if evidence.snapshot_offline_at is not None:
        return PresenceRow(Presence.OFFLINE, None, None)
    if evidence.snapshot_online_at is None:
        return PresenceRow(None, None, None)
    silent_at = _silence(evidence.snapshot_online_at, offline_after, heard_until)
    return PresenceRow(Presence.OFFLINE if silent_at else Presence.ONLINE, None, silent_at)


def _silence(since: Micros, offline_after: Micros, heard_until: Micros | None) -> Micros | None:
    silent_at = since + offline_after
    return silent_at if heard_until is not None and silent_at < heard_until else None


def _last_offline(evidence: Evidence, offline_after: Micros, heard_until: Micros | None) -> Micros | None:
    """Return the larger of offline_at and the last true silence before the newest run.

    A silence is none where the device was already known to be offline when it began.
    """
    runs = widened(evidence.online, offline_after, heard_until)
    if len(runs) < 2:
        return evidence.last_offline
    last_alive = runs[-2][1]
    if evidence.last_offline is not None and evidence.last_offline >= last_alive:
        return evidence.last_offline
    return last_alive + offline_after
