"""Topic patterns: match a topic to its device and its kind of message, and derive the MQTT filters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from handlers.events import MAX_EXTERNAL_ID, DeviceKey
from handlers.text import clipped, text_error, truncate

DEVICE_ID = "{device_id}"
DEFAULTS: Mapping[str, str] = {
    "telemetry": "devices/{device_id}/telemetry",
    "connection": "devices/{device_id}/connection",
    "status": "devices/{device_id}/status",
}
MAX_PATTERNS = 64
MAX_PATTERN_BYTES = 1024
MAX_CACHED = 131_072
"""Topics that are remembered. A fleet with more is matched anew: that costs less than to forget and remember again."""
MAX_CACHED_TOPIC = 128
"""Longer topics, and those that are not ASCII, are matched each time: a flood of them cannot fill memory."""

_WILD = ("{}", "+", DEVICE_ID)


class Route(NamedTuple):
    """Where a topic leads. `error` says why its device id cannot be one."""

    device: DeviceKey
    kind: str
    error: str | None


class Pattern(NamedTuple):
    """One checked pattern: the MQTT filter to subscribe to and the expression that finds the device id."""

    kind: str
    filter: str
    expression: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic patterns of one integration, most specific first. Build with `Topics.parse`."""

    patterns: tuple[Pattern, ...]
    _routes: dict[str, Route | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, settings: dict[str, str | list[str]] | None) -> "Topics":
        """Check the setting `topics`: kind -> pattern or patterns; a kind that is not named keeps its default.

        Raises:
            ValueError: what was wrong, where, and what to write instead.
        """
        wanted: dict[str, str | list[str]] = {**DEFAULTS, **_checked(settings)}
        patterns = [
            _pattern(kind, text)
            for kind, texts in wanted.items()
            for text in ([texts] if isinstance(texts, str) else texts)
        ]
        _refuse_clashes(patterns)
        patterns.sort(key=lambda one: (one.filter.endswith("#"), one.filter.count("+")))
        return cls(tuple(patterns))

    def filters(self, *kinds: str) -> list[str]:
        """Return the MQTT topic filters to subscribe to, each once; with `kinds` only theirs."""
        return list(dict.fromkeys(one.filter for one in self.patterns if not kinds or one.kind in kinds))

    def shared(self) -> list[str]:
        """Return the telemetry filters, which several sessions may share.

        Raises:
            ValueError: where one of them matches connection or status topics too, which one session must read alone.
        """
        alone = self.filters("connection", "status")
        for telemetry in self.filters("telemetry"):
            for other in alone:
                if _overlap(telemetry.split("/"), other.split("/")):
                    raise ValueError(
                        f'topics.telemetry: "{truncate(telemetry)}" matches topics of "{truncate(other)}" too, which '
                        "cannot be shared; give telemetry topics of its own, or set slots to 1"
                    )
        return self.filters("telemetry")

    def match(self, topic: str) -> tuple[str, str] | None:
        """Return (device id, kind), or None when no pattern matches. The most specific pattern wins."""
        route = self.route(topic)
        return None if route is None else (route.device.external_id or "", route.kind)

    def route(self, topic: str) -> Route | None:
        """Return what `match` finds with the device id checked, remembered for the next message."""
        try:
            return self._routes[topic]
        except KeyError:
            pass
        route = self._find(topic)
        if len(self._routes) < MAX_CACHED and len(topic) <= MAX_CACHED_TOPIC and topic.isascii():
            self._routes[topic] = route
        return route

    def _find(self, topic: str) -> Route | None:
        for pattern in self.patterns:
            found = pattern.expression.fullmatch(topic)
            if found:
                device_id = found.group(1)
                error = text_error(device_id, MAX_EXTERNAL_ID)
                told = None if error is None else clipped(f"the device id in the topic {error}")
                return Route(DeviceKey(device_id), pattern.kind, told)
        return None


def _checked(settings: object) -> dict[str, str | list[str]]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ValueError('topics: must be an object such as {"telemetry": "devices/{device_id}/telemetry"}')
    for kind, texts in settings.items():
        if kind not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            raise ValueError(f'topics: "{truncate(str(kind))}" is not a kind of topic; use one of {known}')
        if isinstance(texts, list):
            if len(texts) > MAX_PATTERNS or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"topics.{kind}: must be a list of at most {MAX_PATTERNS} texts")
        elif not isinstance(texts, str):
            raise ValueError(f"topics.{kind}: must be a pattern (text) or a list of patterns")
    return settings


def _pattern(kind: str, text: str) -> Pattern:
    """Compile one pattern, or raise ValueError with the way out."""
    where = f'topics.{kind}: "{truncate(text)}"'
    error = text_error(text, MAX_PATTERN_BYTES)
    if error:
        raise ValueError(f"{where} {error}")
    if text.startswith("$share/"):
        raise ValueError(f"{where}: leave out $share/<group>/, the setting slots makes shared subscriptions")
    levels = text.split("/")
    for level in levels[:-1]:
        _check_level(where, level)
    if levels[-1] != "#":
        _check_level(where, levels[-1])
    if levels.count(DEVICE_ID) != 1:
        raise ValueError(f"{where} must have exactly one level {DEVICE_ID}, which names the device")
    wild = "/".join("+" if level in _WILD else level for level in levels)
    return Pattern(kind, wild, re.compile(_expression(levels), re.DOTALL))


def _check_level(where: str, level: str) -> None:
    if level == "#":
        raise ValueError(f"{where}: # may only be the last level; use {{}} for any one level")
    if level in _WILD:
        return
    if DEVICE_ID in level:
        raise ValueError(f"{where}: {DEVICE_ID} must be a whole level, as in devices/{DEVICE_ID}/telemetry")
    for sign in "+#{}":
        if sign in level:
            hint = f"use {DEVICE_ID} for the device id, {{}} for any one level, # for all that follow"
            raise ValueError(f'{where}: "{sign}" cannot be part of level "{truncate(level)}"; {hint}')


def _expression(levels: list[str]) -> str:
    """Return the regular expression: # also matches its parent, wildcards never a leading $ (MQTT 5, 4.7)."""
    rest = levels[-1] == "#"
    parts = ["([^/]*)" if one == DEVICE_ID else "[^/]*" if one in _WILD else re.escape(one) for one in levels]
    body = "/".join(parts[:-1] if rest else parts)
    guard = r"(?!\$)" if levels[0] in _WILD else ""
    return guard + body + ("(?:/.*)?" if rest else "")


def _overlap(one: list[str], other: list[str]) -> bool:
    """Say whether a topic can match both filters, given by their levels."""
    if not one or not other:
        return (one or other) in ([], ["#"])
    if "#" in (one[0], other[0]):
        return True
    return (one[0] == other[0] or "+" in (one[0], other[0])) and _overlap(one[1:], other[1:])


def _refuse_clashes(patterns: list[Pattern]) -> None:
    if not patterns:
        raise ValueError("topics: every kind is empty; name at least one pattern")
    kinds: dict[str, Pattern] = {}
    for pattern in patterns:
        other = kinds.setdefault(pattern.filter, pattern)
        if other.kind != pattern.kind or other.expression.pattern != pattern.expression.pattern:
            raise ValueError(
                f'topics: "{truncate(pattern.filter)}" is both {other.kind} and {pattern.kind}, or names the device '
                f"at two places; give each its own topic, or set topics.{pattern.kind} to []"
            )
