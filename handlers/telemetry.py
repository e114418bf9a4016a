"""The fields of a JSON object: which key means what, and what its value is in the columns' units.

Which key wins never depends on the order of keys: field paths first, then the outer object before nested ones, then
the order of the tuples below, then the key in lower case before other spellings. An unusable value costs only itself:
the next alias of the same field is tried.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from handlers import timestamps, units
from handlers.events import (
    MAX_READING_NAME,
    MAX_READINGS,
    FieldError,
    Reading,
)
from handlers.keys import (
    BAD_NAME,
    BATTERY_GROUP,
    CONTAINER_GROUP,
    DEVICE_GROUP,
    FIRMWARE_GROUP,
    KNOWN,
    LEVELS,
    NAMES,
    NESTS,
    PRESENCE_GROUP,
    ROOT,
    SIGNAL_GROUP,
    TIME_GROUP,
    code_of,
    codes,
    known_code,
    rank,
    reading_name,
)
from handlers.paths import FieldPaths, follow
from handlers.shapes import Fields, quickly_read
from handlers.text import bad_field, text_error, versions

MAX_NESTED = 12
MAX_FIELD_ERRORS = 32

Errors = list[FieldError]

_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments: 0.1 us less."""


NOTHING = Fields(None, None, (), (), None, (), None)
"""What an empty object says."""


def read(body: dict[str, Any], field_paths: Mapping[str, str], errors: Errors) -> Fields:
    """Read one JSON object; what is wrong with a field is appended to `errors`."""
    if not field_paths:
        quick = quickly_read(body)
        if quick is not None:
            return quick
    found: dict[int, Any] = {}
    numbers: dict[str, float] = {}
    ignored: frozenset[str] = frozenset()
    if field_paths:
        ignored = _follow(body, field_paths, found, numbers)
    nested = _collect(body, 0, ignored, found, numbers, errors)
    if nested:
        _descend(nested, ignored, found, numbers, errors)
    values: list[Any] = [None, None, None, (), None, None]
    words: list[tuple[str, object]] = []
    done = 0
    for code in sorted(found):
        value = found[code]
        group = code >> 8
        if group == done or value is None:
            continue
        if group >= PRESENCE_GROUP:
            if group == PRESENCE_GROUP and value.__class__ is not dict:
                words.append((NAMES[code & ~LEVELS], value))
            continue
        result = _READERS[code](value)
        if result.__class__ is not int:
            result = _told(code & ~LEVELS, value, result, errors)
        if result is not None:
            values[group] = result
            done = group
    readings = _readings(numbers, errors) if numbers else ()
    _, battery, signal, firmware, time, device = values
    return _new(Fields, (battery, signal, firmware, readings, time, tuple(words), device))


def _told(code: int, value: object, result: Any, errors: Errors) -> Any:
    """Return what a reader made of a value, or None; a text that it made is the error."""
    name = NAMES[code]
    if code >> 8 == DEVICE_GROUP:
        return (name, result) if result else None
    if code >> 8 == FIRMWARE_GROUP:
        pairs, problem = result
        if problem is not None:
            errors.append(bad_field(name, problem, value))
        return pairs or None
    if result is not None:
        errors.append(bad_field(name, result, value))
    return None


def capped(errors: Errors) -> tuple[FieldError, ...]:
    """Return at most MAX_FIELD_ERRORS errors; the last one counts those left out."""
    if len(errors) <= MAX_FIELD_ERRORS:
        return tuple(errors)
    kept = errors[: MAX_FIELD_ERRORS - 1]
    return (*kept, FieldError("*", f"{len(errors) - len(kept)} more field errors were left out"))


def _collect(
    body: Mapping[str, Any],
    offset: int,
    ignored: frozenset[str],
    found: dict[int, Any],
    numbers: dict[str, float],
    errors: Errors,
) -> list[tuple[int, dict[str, Any]]]:
    """Sort one object's keys into known fields and readings; return the objects to read next."""
    nested: list[tuple[int, dict[str, Any]]] = []
    named: dict[str, str] = {}
    seen = len(found)
    for key, value in body.items():
        code = codes.get(key)
        if code is None:
            code = code_of(key)
        if code > 0:
            seen += 1
            found[code + offset] = value
            if code >= NESTS:
                inner = value if value.__class__ is dict else _opened(code, value, errors)
                if inner is not None:
                    nested.append((code, inner))
        elif value.__class__ is int or value.__class__ is float:
            if code == BAD_NAME:
                errors.append(
                    bad_field(key, f"the name of a reading {text_error(key, MAX_READING_NAME)}", value)
                )
            elif key not in ignored:
                _note_number(key, value, named, numbers)
    if len(found) != seen:
        return _settle(body, offset, found)
    return nested


def _note_number(key: str, value: float, named: dict[str, str], numbers: dict[str, float]) -> None:
    """Keep a reading: of outer objects before nested ones; in one object the spelling decides, never the order."""
    name = reading_name(key)
    if name not in numbers or (name in named and rank(key) < rank(named[name])):
        numbers[name], named[name] = value, key


def _opened(code: int, value: object, errors: Errors) -> dict[str, Any] | None:
    """Return the object under a key that nests: itself, or as text."""
    if value.__class__ is dict:
        return value
    if code >> 8 != CONTAINER_GROUP or not isinstance(value, str) or not value.lstrip().startswith("{"):
        return None
    try:
        inner = orjson.loads(value)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        errors.append(
            bad_field(NAMES[code & ~LEVELS], f"begins as an object, but is not JSON: {error}", value)
        )
        return None
    return inner if inner.__class__ is dict else None


def _settle(body: Mapping[str, Any], offset: int, found: dict[int, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Choose between spellings of one key (`rssi`, `RSSI`): lower case first, then by text, never by order."""
    nested: dict[int, dict[str, Any]] = {}
    for key in sorted(body, key=lambda one: (one != one.lower(), one), reverse=True):
        code = code_of(key)
        if code > 0:
            found[code + offset] = body[key]
            nested.pop(code, None)
            inner = _opened(code, body[key], []) if code >= NESTS else None
            if inner is not None:
                nested[code] = inner
    return list(nested.items())


def _descend(
    nested: list[tuple[int, dict[str, Any]]],
    ignored: frozenset[str],
    found: dict[int, Any],
    numbers: dict[str, float],
    errors: Errors,
) -> None:
    """Read nested objects, the outer ones first, at most MAX_NESTED of them."""
    level = 0
    while nested and level < MAX_NESTED:
        inner: list[tuple[int, dict[str, Any]]] = []
        for _, body in sorted(nested, key=lambda one: one[0]):
            level += 1
            if level <= MAX_NESTED:
                inner += _collect(body, level << 4, ignored, found, numbers, errors)
        nested = inner


def _follow(
    body: dict[str, Any], field_paths: Mapping[str, str], found: dict[int, Any], numbers: dict[str, float]
) -> frozenset[str]:
    """Put the values at `field_paths` before all others; return the last keys, which are then no readings."""
    leaves: list[str] = []
    matched: list[str] = []
    for target in sorted(field_paths):
        there = follow(body, field_paths[target])
        if there is None:
            continue
        matched.append(target)
        if there.key is not None:
            leaves.append(there.key)
        code = known_code(target)
        if code:
            found.setdefault(code & ~LEVELS, there.value)
        elif there.value.__class__ in (int, float) and text_error(target, MAX_READING_NAME) is None:
            numbers.setdefault(target, there.value)
    if field_paths.__class__ is FieldPaths:
        field_paths.note(matched)
    return frozenset(leaves)


def _readings(numbers: dict[str, float], errors: Errors) -> tuple[Reading, ...]:
    """Return at most MAX_READINGS finite numbers, in the order of the message."""
    readings: list[Reading] = []
    for name, number in numbers.items():
        value = float(number)
        if value - value != 0.0:
            errors.append(bad_field(name, "is not a finite number", value))
        elif len(readings) < MAX_READINGS:
            readings.append(_new(Reading, (name, value, "")))
    if len(numbers) > MAX_READINGS:
        told = f"has {len(numbers)} numbers, the first {MAX_READINGS} were kept"
        errors.append(FieldError("readings", told))
    return tuple(readings)


def _device(value: object) -> str | None:
    """Return the id that a payload claims; anything but text or a whole number claims none."""
    return str(value) if value.__class__ is str or value.__class__ is int else None


_GROUP_READERS: dict[int, Callable[[Any], Any]] = {
    BATTERY_GROUP: units.battery,
    SIGNAL_GROUP: units.radio,
    FIRMWARE_GROUP: versions,
    TIME_GROUP: timestamps.micros,
    DEVICE_GROUP: _device,
}
_PLACE_READERS: dict[int, Callable[[Any], Any]] = {
    **{code: _GROUP_READERS[code >> 8] for code in NAMES if code >> 8 in _GROUP_READERS},
    KNOWN["battery_mv"] & ~LEVELS: units.battery_mv,
    KNOWN["csq"] & ~LEVELS: units.csq,
    KNOWN["rsrp"] & ~LEVELS: units.signal,
}
_READERS = {
    code | level: reader for code, reader in _PLACE_READERS.items() for level in range(0, LEVELS + ROOT, ROOT)
}
