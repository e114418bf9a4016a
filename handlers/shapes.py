"""The quick reading of an object whose keys came before in this order: devices say the same few things again and again.

It knows nothing of its own: whatever is not a plain number in its usual range is left to `handlers.telemetry.read`, and
where it answers, the answer is the same.
"""

from typing import Any, NamedTuple

from handlers.events import MAX_READINGS, Micros, Reading
from handlers.keys import (
    BATTERY_GROUP,
    DEVICE_GROUP,
    KNOWN,
    LEVELS,
    NAMES,
    READING,
    SIGNAL_GROUP,
    TIME_GROUP,
    code_of,
    codes,
    reading_name,
)
from handlers.timestamps import MICROS_BELOW, MILLIS_BELOW, SECONDS_BELOW, micros

_MAX_SHAPES = 4_096
_MAX_KEYS = 40
_new = tuple.__new__
"""Makes a named tuple out of all its values in order, without its keyword arguments: 0.1 us less."""


class Fields(NamedTuple):
    """What one object says. `words` are (key, value) that may be presence, `device` whom the payload names."""

    battery_level: int | None
    signal_strength: int | None
    firmware: tuple[tuple[str, str], ...]
    readings: tuple[Reading, ...]
    time: Micros | None
    words: tuple[tuple[str, object], ...]
    device: tuple[str, str] | None


class Shape(NamedTuple):
    """Where the fields stand in objects with these keys; `readings` is every other key with the name that it means."""

    battery: str | None
    signal: str | None
    time: str | None
    readings: tuple[tuple[str, str], ...]
    device: str | None = None
    device_name: str = ""
    """As the key of the device is called in errors, however it is spelled."""


_shapes: dict[tuple[str, ...], Shape | None] = {}
"""A memo of `_shape_of`, nothing else."""
_UNSEEN = Shape(None, None, None, ())
_SIMPLE = (BATTERY_GROUP, SIGNAL_GROUP, TIME_GROUP, DEVICE_GROUP)
_IN_OTHER_UNITS = (KNOWN["battery_mv"], KNOWN["csq"])


def quickly_read(body: dict[str, Any]) -> Fields | None:
    """Return the fields of an object of plain numbers, or None where it needs to be read with care."""
    keys = tuple(body)
    shape = _shapes.get(keys, _UNSEEN)
    if shape is _UNSEEN:
        shape = _shape_of(keys)
    if shape is None:
        return None
    battery_key, signal_key, time_key, names, device_key, device_name = shape
    battery = signal = time = None
    if battery_key is not None:
        battery = body[battery_key]
        if battery.__class__ is not int or not 0 <= battery <= 100:
            return None
    if signal_key is not None:
        signal = body[signal_key]
        if signal.__class__ is not int or not -127 < signal < 0:
            return None
    if time_key is not None:
        time = body[time_key]
        if time.__class__ is int and SECONDS_BELOW <= time < MICROS_BELOW:
            time = time * 1_000 if time < MILLIS_BELOW else time
        else:
            time = micros(time)
            if time.__class__ is not int:
                return None
    readings: tuple[Reading, ...] | None = _readings(body, names) if names else ()
    device = None if device_key is None else (device_name, body[device_key])
    if readings is None or (device is not None and (device[1].__class__ is not str or not device[1])):
        return None
    return _new(Fields, (battery, signal, (), readings, time, (), device))


def _readings(body: dict[str, Any], names: tuple[tuple[str, str], ...]) -> tuple[Reading, ...] | None:
    readings: list[Reading] = []
    for key, name in names:
        value = body[key]
        kind = value.__class__
        if kind is int or kind is float:
            number = float(value)
            if number - number != 0.0:
                return None
            readings.append(_new(Reading, (name, number, "")))
        elif kind is not str and kind is not bool:
            return None
    return tuple(readings)


def _shape_of(keys: tuple[str, ...]) -> Shape | None:
    """Find the shape of these keys and remember it (bounded); None where two keys compete or one needs more care."""
    places: dict[int, str] = {}
    readings: dict[str, str] = {}
    simple = len(keys) <= _MAX_KEYS
    for key in keys[:_MAX_KEYS]:
        code = codes.get(key)
        code = code_of(key) if code is None else code
        group = code >> 8
        if code == READING and (name := reading_name(key)) not in readings:
            readings[name] = key
        elif group in _SIMPLE and group not in places:
            simple = simple and code not in _IN_OTHER_UNITS
            places[group] = key
        else:
            simple = False
    shape = None
    if simple and len(readings) <= MAX_READINGS:
        found = places.get(BATTERY_GROUP), places.get(SIGNAL_GROUP), places.get(TIME_GROUP)
        device = places.get(DEVICE_GROUP)
        named = NAMES[code_of(device) & ~LEVELS] if device is not None else ""
        shape = Shape(*found, tuple((key, name) for name, key in readings.items()), device, named)
    if len(keys) <= _MAX_KEYS and sum(map(len, keys)) <= 1_024:
        if len(_shapes) >= _MAX_SHAPES:
            _shapes.clear()
        _shapes[keys] = shape
    return shape
