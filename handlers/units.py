"""Battery and radio figures as devices send them, to percent and dBm. A text instead of a number is the error."""

import math
import re
from collections.abc import Mapping
from itertools import pairwise

from handlers.keys import folded
from handlers.text import described

_FIGURE = re.compile(r"([+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?)\s*(%|dbm|mv)?", re.IGNORECASE)

LI_ION_CURVE = (
    (3270, 0), (3610, 5), (3690, 10), (3710, 15), (3730, 20), (3750, 25), (3770, 30), (3790, 35), (3800, 40),
    (3820, 45), (3840, 50), (3850, 55), (3870, 60), (3910, 65), (3950, 70), (3980, 75), (4020, 80), (4080, 85),
    (4110, 90), (4150, 95), (4200, 100),
)  # fmt: skip
"""(millivolts at rest, percent) of one Li-ion cell at room temperature, linear between the points."""
MIN_MV, MAX_MV = 2500, 4500
CSQ_UNKNOWN = 99
LEVELS = ("percent", "percentage", "level", "batterylevel", "pct", "soc")
"""Keys of an object that is a battery, folded, the preferred first."""
FRACTION_BELOW = 5
"""A battery of 0.87 may be a share of one, one of 3.7 is a voltage: no fraction below this is taken for percent."""
NO_SIGNAL = frozenset((0, -127, -128))
"""The dBm that radios report where they hear nothing: not yet measured, and the least numbers of eight bits."""
_BLANKS = str.maketrans(dict.fromkeys("\u00a0\u2007\u2009\u202f", " "))


def battery(value: object) -> int | str:
    """Return percent 0..100, rounded half up, from a number, "87", "87%" or an object with one of LEVELS."""
    if value.__class__ is int and 0 <= value <= 100:
        return value
    if isinstance(value, dict):
        value = _level(value)
    number, unit = _figure(value)
    if number is None or unit not in ("", "%"):
        return f"is {described(value)}, not a battery level: send a number 0..100 (percent)"
    if not 0 <= number <= 100:
        hint = "; send millivolts as battery_mv" if MIN_MV <= number <= MAX_MV else ""
        return f"is {described(value)}, outside 0..100 percent{hint}"
    if number < FRACTION_BELOW and number != int(number) and not unit:
        return f"is {described(value)}, a voltage or a share of one: send 0..100 percent, or millivolts as battery_mv"
    return _half_up(number)


def _level(battery: Mapping[str, object]) -> object:
    """Return what is the level in an object such as {"V": 4.1, "percent": 87}, or the object itself."""
    found = {folded(key): battery[key] for key in sorted(battery, reverse=True)}
    return next((found[key] for key in LEVELS if found.get(key) is not None), battery)


def battery_mv(value: object) -> int | str:
    """Return percent 0..100 of one Li-ion cell from millivolts, by LI_ION_CURVE."""
    number, unit = _figure(value)
    if number is None or unit not in ("", "mv"):
        return f"is {described(value)}, not a voltage: send a number of millivolts"
    if not MIN_MV <= number <= MAX_MV:
        return f"is {described(value)}, outside {MIN_MV}..{MAX_MV} mV of one Li-ion cell: send battery in percent"
    if number <= LI_ION_CURVE[0][0]:
        return 0
    for (low, low_level), (high, high_level) in pairwise(LI_ION_CURVE):
        if number <= high:
            return _half_up(low_level + (high_level - low_level) * (number - low) / (high - low))
    return 100


def signal(value: object) -> int | str:
    """Return dBm -150..0 from a number, "-71", "-71 dBm", or "75%" (percent / 2 - 100)."""
    if value.__class__ is int and -150 <= value <= 0:
        return value
    number, unit = _figure(value)
    if number is None or unit == "mv":
        return f"is {described(value)}, not a signal strength: send dBm, -150..0"
    if unit == "%":
        if not 0 <= number <= 100:
            return f"is {described(value)}, outside 0%..100%"
        return _half_up(number / 2 - 100)
    if 0 < number <= 150:
        return (
            f'is {described(value)}, positive: send dBm (-150..0), a CSQ index as "csq", '
            f'or a percentage as text such as "75%"'
        )
    if not -150 <= number <= 0:
        return f"is {described(value)}, outside -150..0 dBm"
    return _half_up(number)


def radio(value: object) -> int | str | None:
    """Return dBm as `signal`; None for what stands for no signal."""
    number = signal(value)
    return None if number in NO_SIGNAL else number


def csq(value: object) -> int | str | None:
    """Return dBm from the index of AT+CSQ: 0..31 -> -113 + 2n; None for 99, 'not known or not detectable'.

    Source: 3GPP TS 27.007, 8.5 (the open ends 0 and 31 are taken at their bound).
    """
    number, unit = _figure(value)
    if number is None or unit or number != int(number):
        return f"is {described(value)}, not a CSQ index: send a whole number 0..31, or 99 for unknown"
    if number == CSQ_UNKNOWN:
        return None
    if not 0 <= number <= 31:
        return f"is {described(value)}, outside 0..31 (99 for unknown): send dBm as rssi"
    return -113 + 2 * int(number)


def _figure(value: object) -> tuple[float | None, str]:
    """Return (number, unit in lower case); None for what is no finite number. A boolean is not a number."""
    if isinstance(value, str):
        text = value if value.isascii() else value.translate(_BLANKS)
        found = _FIGURE.fullmatch(text.strip()) if len(text) <= 64 else None
        return (float(found[1]), (found[2] or "").lower()) if found and text.isascii() else (None, "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, ""
    if not -1e15 < value < 1e15:
        return (-1e15 if value < 0 else 1e15), ""
    return float(value), ""


def _half_up(number: float) -> int:
    return math.floor(number + 0.5)
