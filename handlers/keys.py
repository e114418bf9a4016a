"""Which key of a payload means what, as sortable codes.

A code is group << 8 | level << 4 | place among the group's aliases, so that sorting codes sorts by preference. Level 0
is for field paths, 1 the outer object, 2 and more what is nested.
"""

from handlers.events import MAX_READING_NAME
from handlers.text import text_error

BATTERY = ("battery", "battery_level", "batt", "soc", "battery_mv")
SIGNAL = ("rssi", "signal", "signal_strength", "rsrp", "csq")
FIRMWARE = ("firmware", "fw", "firmware_version", "version")
TIME = ("ts", "time", "timestamp")
DEVICE = ("device", "device_id", "deviceid")
PRESENCE = ("status", "state", "connected", "event")
CONTAINERS = ("data", "payload", "telemetry")
"""Objects under these, and under `state`, are read as if their keys stood outside."""

BATTERY_GROUP, SIGNAL_GROUP, FIRMWARE_GROUP, TIME_GROUP, DEVICE_GROUP, PRESENCE_GROUP, CONTAINER_GROUP = (
    range(1, 8)
)
READING, BAD_NAME = 0, -1
"""Any other key, and one that cannot name a reading."""
ROOT = 1 << 4
LEVELS = 15 << 4
NESTS = PRESENCE_GROUP << 8
"""From this code on, an object as value is read as if its keys stood outside."""

KNOWN = {
    alias: group << 8 | ROOT | place
    for group, aliases in enumerate((BATTERY, SIGNAL, FIRMWARE, TIME, DEVICE, PRESENCE, CONTAINERS), start=1)
    for place, alias in enumerate(aliases)
}
NAMES = {code & ~LEVELS: alias for alias, code in KNOWN.items()}

_MAX_CODES = 20_000
codes = dict(KNOWN)
"""A memo of `code_of`, nothing else: what a key's text means never changes."""


def code_of(key: str) -> int:
    """Return what a key means, and remember it (bounded)."""
    code = KNOWN.get(key.lower(), READING)
    if code == READING and text_error(key, MAX_READING_NAME):
        code = BAD_NAME
    if len(key) <= MAX_READING_NAME:
        if len(codes) >= _MAX_CODES:
            codes.clear()
            codes.update(KNOWN)
        codes[key] = code
    return code
