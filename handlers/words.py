"""What a message says about presence: the words for it, and what else counts in a message that ends it."""

from collections.abc import Iterable, Mapping

from handlers.events import Decoded, FieldError, Liveness, Micros, Observation, Presence
from handlers.telemetry import capped
from handlers.timestamps import usable

WORDS: Mapping[str, Presence] = {
    **dict.fromkeys(("online", "1", "true", "connected"), Presence.ONLINE),
    **dict.fromkeys(("offline", "0", "false", "disconnected"), Presence.OFFLINE),
}
ACCEPTED = "online/offline, connected/disconnected, true/false or 1/0"


def meaning(word: object) -> Presence | None:
    """Return what one word, number or boolean says, or None."""
    if isinstance(word, str):
        return WORDS.get(word.strip().lower()) if len(word) <= 256 else None
    if isinstance(word, bool | int | float):
        return Presence.ONLINE if word == 1 else Presence.OFFLINE if word == 0 else None
    return None


def spoken(words: Iterable[object]) -> Presence | None:
    """Return what the first known word says, or None."""
    for word in words:
        known = meaning(word)
        if known is not None:
            return known
    return None


def went_offline(
    offline: Observation, time: Micros | None, liveness: Liveness, errors: list[FieldError]
) -> Decoded:
    """Part the end of a presence from the values beside it, which count at their own `time` alone.

    They may have been composed hours ago (a will), and at the time of arrival would replace newer ones.
    """
    bare = offline._replace(battery_level=None, signal_strength=None, firmware=(), readings=())
    if offline == bare:
        return Decoded((bare,), capped(errors))
    if time is None or not usable(time, offline.received_at, liveness.max_ahead):
        told = "without a usable time of their own the values of an offline message are not used: they may be old"
        errors.append(FieldError("offline", told))
        return Decoded((bare,), capped(errors), time is not None)
    measured = offline._replace(at=time, presence=None, sequence=None, facts=None)
    return Decoded((bare, measured), capped(errors))
