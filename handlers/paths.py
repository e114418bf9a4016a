"""Field paths: where an integration's devices say what no key of the dialect names.

A path is steps with dots between: keys of objects and indexes of arrays, as in `rxInfo.0.rssi` or `rxInfo[0].rssi`. A
key that holds dots itself is found too. Keys match in any case, without `_`, `-` and blanks; the exact one is
preferred.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from handlers.keys import folded

MAX_STEPS = 32
_INDEX = re.compile(r"\[([0-9]{1,6})\]")


class Found(NamedTuple):
    """A value, and the key of an object under which it stood; None where it stood in an array."""

    value: Any
    key: str | None


class FieldPaths(dict[str, str]):
    """field or reading name -> path, and which of them have matched in how many messages."""

    __slots__ = ("_told", "messages", "missing")

    def __init__(self, paths: Mapping[str, str]) -> None:
        super().__init__(paths)
        self.messages = 0
        """How many objects were looked through while a path was missing."""
        self.missing = set(paths)
        """The fields whose path has matched in none of them."""
        self._told = False

    def note(self, matched: Sequence[str]) -> None:
        """Count one object in which the paths of these fields led to a value."""
        if self.missing:
            self.messages += 1
            self.missing.difference_update(matched)

    def overdue(self, messages: int) -> list[str]:
        """Return, once, the fields whose path has matched in none of `messages` objects or more."""
        if self._told or self.messages < messages:
            return []
        self._told = True
        return sorted(self.missing)


def check(paths: Mapping[str, str]) -> None:
    """Refuse a path that can lead nowhere. Raises: ValueError, naming the field."""
    for field, path in paths.items():
        steps = _steps(path)
        if len(steps) > MAX_STEPS or not all(steps):
            raise ValueError(
                f"{field}: a path such as data.sensors.bat or rxInfo.0.rssi, {MAX_STEPS} steps at most"
            )


def follow(body: Any, path: str) -> Found | None:
    """Return what stands at the path, or None for nothing."""
    return _follow(body, _steps(path), None)


def _follow(value: Any, steps: tuple[str, ...], key: str | None) -> Found | None:
    if not steps:
        return None if value is None else Found(value, key)
    if value.__class__ is list:
        index = int(steps[0]) if steps[0].isdecimal() and len(steps[0]) <= 6 else len(value)
        return _follow(value[index], steps[1:], None) if index < len(value) else None
    if value.__class__ is not dict:
        return None
    spelled = _spelled(value, steps)
    for end in sorted(spelled):
        found = _follow(value[spelled[end]], steps[end:], spelled[end])
        if found is not None:
            return found
    return None


def _spelled(value: dict[str, Any], steps: tuple[str, ...]) -> dict[int, str]:
    """Return the keys of an object that the first steps name, by how many of them."""
    wanted = {".".join(steps[:end]): end for end in range(1, len(steps) + 1)}
    spelled = {end: key for key, end in wanted.items() if key in value}
    if 1 not in spelled:
        alike = {folded(key): end for key, end in wanted.items() if end not in spelled}
        for key in sorted(key for key in value if folded(key) in alike):
            spelled.setdefault(alike[folded(key)], key)
    return spelled


@lru_cache(maxsize=4096)
def _steps(path: str) -> tuple[str, ...]:
    return tuple(_INDEX.sub(r".\1", path).removeprefix(".").split("."))
