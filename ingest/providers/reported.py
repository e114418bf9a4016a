"""A device's shadow or twin: battery, signal and firmware as it reports them, each with its own time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from handlers import units
from handlers.events import Micros
from handlers.keys import BATTERY, FIRMWARE, SIGNAL, folded
from ingest.providers.columns import Columns
from ingest.providers.port import Installed

Stamp = Callable[[object], Micros | None]
"""Reads the time out of one node of the metadata that mirrors the reported properties."""
Reader = Callable[[object], int | str | None]


class Shadow(NamedTuple):
    """battery_level in percent, signal_strength in dBm."""

    battery_level: int | None = None
    battery_at: Micros | None = None
    signal_strength: int | None = None
    signal_at: Micros | None = None
    firmware: tuple[Installed, ...] = ()


def read(properties: object, stamps: object, stamp: Stamp, columns: Columns) -> Shadow:
    """Read an object of reported properties by the keys of the dialect `plain`, in lower case before any other.

    `stamps` has the same keys; what is wrong with a value is noted in `columns`.
    """
    if not isinstance(properties, dict):
        return Shadow()
    known = _known(properties)
    if not known:
        return Shadow()
    times = stamps if isinstance(stamps, dict) else {}

    def figure(aliases: tuple[str, ...]) -> tuple[int | None, Micros | None]:
        for alias in aliases:
            if alias not in known:
                continue
            key, value = known[alias]
            number = _READERS.get(alias, _DEFAULTS[aliases])(value)
            if isinstance(number, str):
                columns.problem(key, number)
            elif number is not None:
                return number, stamp(times.get(key))
        return None, None

    battery, battery_at = figure(BATTERY)
    signal, signal_at = figure(SIGNAL)
    return Shadow(battery, battery_at, signal, signal_at, _firmware(known, times, stamp, columns))


def _known(properties: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return alias -> (key, value); of several spellings the one in lower case, else the first by text."""
    known: dict[str, tuple[str, Any]] = {}
    for key, value in properties.items():
        alias = _ALIASES.get(folded(key))
        if alias is None or value is None:
            continue
        if alias not in known or (key != alias, key) < (known[alias][0] != alias, known[alias][0]):
            known[alias] = key, value
    return known


def _firmware(
    known: Mapping[str, tuple[str, Any]], times: Mapping[str, object], stamp: Stamp, columns: Columns
) -> tuple[Installed, ...]:
    for alias in FIRMWARE:
        if alias not in known:
            continue
        key, value = known[alias]
        pairs = columns.versions(key, value)
        if pairs:
            return tuple(
                Installed(component, version, _dated(times.get(key), component, stamp))
                for component, version in pairs
            )
    return ()


def _dated(node: object, component: str, stamp: Stamp) -> Micros | None:
    """Return the time of a component: its own, else that of the key `version` beside it, else of the whole."""
    if isinstance(node, dict):
        for inner in (node.get(component), node.get("version")):
            if inner is not None and (at := stamp(inner)) is not None:
                return at
    return stamp(node)


_ALIASES = {folded(alias): alias for alias in (*BATTERY, *SIGNAL, *FIRMWARE)}
_READERS: dict[str, Reader] = {"battery_mv": units.battery_mv, "csq": units.csq}
_DEFAULTS: dict[tuple[str, ...], Reader] = {BATTERY: units.battery, SIGNAL: units.signal}
