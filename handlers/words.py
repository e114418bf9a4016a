"""Words of presence: the ones a message may say, and what else counts in a message that ends it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from handlers.events import Decoded, FieldError, Micros, Observation, Presence
from handlers.telemetry import capped
from handlers.text import bad_field, described

Words = Mapping[str, Presence]
"""Word in lower case -> what it says."""

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE
WORDS: Words = {
    **dict.fromkeys(("online", "1", "true", "connected", "connect", "alive", "active"), ONLINE),
    **dict.fromkeys(("offline", "0", "false", "disconnected", "disconnect", "inactive", "lost"), OFFLINE),
}
ACCEPTED = "online/offline, connected/disconnected, true/false, 1/0, or a word of the setting presence_words"
MAX_WORD, MAX_NUMBER = 64, 10**15
_FLAGS: Words = {"yes": ONLINE, "on": ONLINE, "no": OFFLINE, "off": OFFLINE}
_FLAG_KEYS = frozenset(("connected", "online", "alive"))
"""Keys that are questions: their value may also be yes or no."""
_SEPARATOR = re.compile(r"[ ._:/-]+")
_SUBJECTS = frozenset(("client", "device", "connection"))
"""What may stand before a word, as in `client.disconnected` and `device_offline`."""


def meaning(word: object, words: Words = WORDS) -> Presence | None:
    """Return what one word, number or boolean says, or None."""
    if isinstance(word, str):
        return _of_text(word, words) if len(word) <= MAX_WORD else None
    if isinstance(word, bool):
        return words.get("true" if word else "false")
    if isinstance(word, int | float):
        return words.get(str(int(word))) if -MAX_NUMBER < word < MAX_NUMBER and word == int(word) else None
    return None


def _of_text(word: str, words: Words) -> Presence | None:
    word = word.strip().lower()
    known = words.get(word)
    if known is not None:
        return known
    first, *rest = _SEPARATOR.split(word)
    return words.get("".join(rest)) if first in _SUBJECTS and len(rest) == 1 else None


def spoken(
    said: Sequence[tuple[str, object]], errors: list[FieldError], words: Words = WORDS
) -> Presence | None:
    """Return what the presence keys of an object say, given as (key, value); None for no evidence.

    A word that is not known is an error of its field and says nothing. Where two keys disagree offline counts, and that
    is an error, too. A number under a key that is no question may be a status code: it counts only where it is alone.
    """
    if len(said) == 1:
        ((key, value),) = said
        alone = _under(key, value, words)
        if alone is None:
            errors.append(_unknown(key, value))
        return alone
    known: list[tuple[str, object, Presence]] = []
    codes: list[tuple[str, object]] = []
    for key, value in said:
        presence = _under(key, value, words)
        if value.__class__ in (int, float) and key not in _FLAG_KEYS:
            codes.append((key, value))
        elif presence is not None:
            known.append((key, value, presence))
        else:
            errors.append(_unknown(key, value))
    if not known:
        for key, value in codes:
            presence = meaning(value, words)
            if presence is not None:
                known.append((key, value, presence))
            else:
                errors.append(_unknown(key, value))
    return _agreed(known, errors)


def _under(key: str, value: object, words: Words) -> Presence | None:
    """Return what a value under a presence key says."""
    presence = meaning(value, words)
    if presence is None and key in _FLAG_KEYS and isinstance(value, str) and len(value) <= MAX_WORD:
        return _FLAGS.get(value.strip().lower())
    return presence


def _unknown(key: str, value: object) -> FieldError:
    return bad_field(key, f"is {described(value)}, which says nothing about presence: send {ACCEPTED}", value)


def _agreed(known: Iterable[tuple[str, object, Presence]], errors: list[FieldError]) -> Presence | None:
    """Return what all of them say; where they disagree, offline."""
    offline = next((key for key, _, presence in known if presence is OFFLINE), None)
    online = [(key, value) for key, value, presence in known if presence is ONLINE]
    if offline is None:
        return ONLINE if online else None
    for key, value in online:
        errors.append(bad_field(key, f'says online where "{offline}" says offline: offline counts', value))
    return OFFLINE


def vocabulary(online: Iterable[str], offline: Iterable[str]) -> Words:
    """Return the words that count where an integration has further ones, which win over the usual.

    Raises:
        ValueError: names the word, and what is wrong with it.
    """
    own: dict[str, Presence] = {}
    for presence, listed in ((ONLINE, online), (OFFLINE, offline)):
        for word in listed:
            short = word.strip().lower()
            if not 0 < len(short) <= MAX_WORD:
                raise ValueError(f"a word of 1 to {MAX_WORD} characters")
            if own.setdefault(short, presence) is not presence:
                raise ValueError(f'"{short}" is in both lists')
    return {**WORDS, **own} if own else WORDS


def went_offline(
    offline: Observation, measured_at: Micros | None, errors: list[FieldError], *, said_time: bool
) -> Decoded:
    """Part the end of a presence from the values beside it, which count at their own usable time alone.

    They may have been composed hours ago (a will), and at the time of arrival would replace newer ones. `said_time`:
    the message holds a time, usable or not.
    """
    bare = offline._replace(battery_level=None, signal_strength=None, firmware=(), readings=())
    if offline == bare:
        return Decoded((bare,), capped(errors))
    if measured_at is None:
        told = "without a usable time of their own the values of an offline message are not used: they may be old"
        errors.append(FieldError("offline", told))
        return Decoded((bare,), capped(errors), said_time)
    measured = offline._replace(at=measured_at, presence=None, sequence=None, facts=None)
    return Decoded((bare, measured), capped(errors))
