"""The meaning of a payload's keys, as sortable codes.

A code is group << 8 | level << 4 | place among the group's aliases, so that sorting codes sorts by preference. Level 0
is for field paths, 1 the outer object, 2 and more what is nested.
"""

from collections.abc import Mapping

from handlers.events import MAX_READING_NAME
from handlers.text import text_error

BATTERY = (
    "battery", "battery_level", "batt", "soc", "battery_percent", "battery_percentage", "battery_pct", "battery_mv",
)  # fmt: skip
SIGNAL = ("rssi", "signal", "signal_strength", "wifi_rssi", "rsrp", "csq")
FIRMWARE = ("firmware", "fw", "firmware_version", "version")
TIME = ("ts", "time", "timestamp", "tst")
DEVICE = ("device", "device_id")
PRESENCE = ("status", "state", "connected", "event", "online", "alive", "connection_state")
CONTAINERS = ("data", "payload", "telemetry", "values", "reported")
"""Objects under these, and under `state`, are read as if their keys stood outside."""
READINGS: Mapping[str, tuple[str, ...]] = {
    "temp": ("temp", "temperature"),
    "hum": ("hum", "humidity"),
    "press": ("press", "pressure"),
}
"""Readings with more than one usual name: the name that is kept, and its aliases."""

BATTERY_GROUP, SIGNAL_GROUP, FIRMWARE_GROUP, TIME_GROUP, DEVICE_GROUP, PRESENCE_GROUP, CONTAINER_GROUP = (
    range(1, 8)
)
READING, BAD_NAME = 0, -1
"""Any other key, and one that cannot name a reading."""
ROOT = 1 << 4
LEVELS = 15 << 4
NESTS = PRESENCE_GROUP << 8
"""From this code on, an object as value is read as if its keys stood outside."""

_LEFT_OUT = str.maketrans("", "", "_- ")


def folded(key: str) -> str:
    """Return what is compared of a key: lower case, without `_`, `-` and blanks."""
    return key.lower().translate(_LEFT_OUT)


KNOWN = {
    alias: group << 8 | ROOT | place
    for group, aliases in enumerate((BATTERY, SIGNAL, FIRMWARE, TIME, DEVICE, PRESENCE, CONTAINERS), start=1)
    for place, alias in enumerate(aliases)
}
NAMES = {code & ~LEVELS: alias for alias, code in KNOWN.items()}
_FOLDED = {folded(alias): code for alias, code in KNOWN.items()}
_READINGS = {alias: name for name, aliases in READINGS.items() for alias in aliases}

_MAX_CODES = 20_000
codes = dict(KNOWN)
"""A memo of `code_of`, nothing else: what a key's text means never changes."""


def known_code(key: str) -> int:
    """Return the code of a key that means a field, else READING."""
    return _FOLDED.get(folded(key), READING)


def code_of(key: str) -> int:
    """Return what a key means, and remember it (bounded)."""
    if len(key) > MAX_READING_NAME:
        return BAD_NAME
    code = known_code(key)
    if code == READING and text_error(key, MAX_READING_NAME):
        code = BAD_NAME
    if len(codes) >= _MAX_CODES:
        codes.clear()
        codes.update(KNOWN)
    codes[key] = code
    return code


def reading_name(key: str) -> str:
    """Return the name under which a reading is kept: one for `temp` and `temperature`, else the key itself."""
    return _READINGS.get(key) or _READINGS.get(key.lower(), key)


def rank(key: str) -> tuple[int, bool, str]:
    """Return what decides between spellings of one reading in one object; the least counts, whatever their order."""
    aliases = READINGS.get(reading_name(key), ())
    lower = key.lower()
    return aliases.index(lower) if lower in aliases else len(aliases), key != lower, key
