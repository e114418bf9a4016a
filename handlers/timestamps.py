"""Device times to microseconds: ISO 8601 and epoch numbers in s, ms, us or ns, told apart by size."""

import re
from datetime import UTC, datetime, timedelta

from handlers.events import MAX_AT, MIN_AT, SECOND, Liveness, Micros
from handlers.text import described

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-?W?[0-9]{2}.*", re.DOTALL)
_LEAP = re.compile(r"(.{8,11}[0-9]{2}:?[0-9]{2}:?)60(?![0-9])(.*)", re.DOTALL)
_LONGEST = 64

SECONDS_BELOW = 10**11
"""As seconds the year 5138, as milliseconds 1973: each unit ends where the next is past any usable time."""
MILLIS_BELOW = 10**14
MICROS_BELOW = 10**17
NANOS_BELOW = 10**20


def micros(value: object) -> Micros | str:
    """Return a device's time as microseconds UTC, or a text that says why it is none.

    Accepts ISO 8601 (no zone means UTC; also `YYYY-MM-DD_HH:MM:SS.fff`; a second 60 is the next minute, RFC 3339 5.6),
    and epoch seconds, milliseconds, microseconds or nanoseconds as integer, float or numeric text. Whether the time is
    believable: `usable`.
    """
    if value.__class__ is int:
        return _scaled(value)
    if isinstance(value, float):
        return _scaled(value)
    if isinstance(value, str):
        return _from_text(value.strip())
    return f"is {described(value)}, not a time: send ISO 8601 or an epoch number"


def usable(at: Micros, received_at: Micros, max_ahead: Micros) -> bool:
    """Return whether a clock can have been right: from 2015 to `max_ahead` after we had the message in hand."""
    return MIN_AT <= at <= received_at + max_ahead and at <= MAX_AT


def device_usable(at: Micros, received_at: Micros, liveness: Liveness) -> bool:
    """Return whether a device's clock can have been right: not too far ahead, and not too far behind."""
    behind = received_at - at
    return behind <= liveness.max_behind and -behind <= liveness.max_ahead and MIN_AT <= at <= MAX_AT


def _scaled(value: int | float) -> Micros | str:
    size = -value if value < 0 else value
    if size < SECONDS_BELOW:
        return value * 1_000_000 if value.__class__ is int else round(value * 1_000_000)
    if size < MILLIS_BELOW:
        return value * 1_000 if value.__class__ is int else round(value * 1_000)
    if size < MICROS_BELOW:
        return round(value)
    if size < NANOS_BELOW:
        return int(value // 1_000)
    return f"is {described(value)}, too large for an epoch time in s, ms, us or ns"


def _from_text(text: str) -> Micros | str:
    if len(text) <= _LONGEST and text.isascii():
        if _NUMBER.fullmatch(text):
            return _scaled(int(text) if text.lstrip("+-").isdigit() else float(text))
        at = _from_iso(text.upper()) if _DATE.fullmatch(text) else None
        if at is not None:
            return at
    return f"is {described(text)}, not a time: send ISO 8601 such as 2026-01-31T12:00:00Z, or an epoch number"


def _from_iso(text: str) -> Micros | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return _from_leap_second(text)


def _from_leap_second(text: str) -> Micros | None:
    leap = _LEAP.fullmatch(text)
    before = None if leap is None else _from_iso(f"{leap[1]}59{leap[2]}")
    return None if before is None else before + SECOND
