"""From a provider's JSON to values that fit the columns: one unusable field costs only itself."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers import text
from handlers.events import MAX_AT, MIN_AT, FieldError, Micros
from handlers.telemetry import capped
from handlers.text import clipped, described, text_error, truncate
from handlers.timestamps import micros

MAX_NAME = 255
MAX_HARDWARE_ID = 255
MAX_HARDWARE_IDS = 32
MAX_TAG = 255
MAX_TAGS = 64
MAX_COHORT_ID = 255
MAX_METADATA = 64 * 1024
"""Characters of one device's metadata as JSON."""
MAX_DEPTH = 16

NEVER = frozenset((0, -62_135_596_800_000_000))
"""What clouds send for 'it never happened': the epoch, and 0001-01-01T00:00:00Z."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Columns:
    """Reads the fields of one device and keeps what was wrong with them."""

    def __init__(self) -> None:
        self._problems: list[FieldError] = []

    @property
    def problems(self) -> tuple[FieldError, ...]:
        """What could not be used so far, bounded."""
        return capped(self._problems)

    def problem(self, field: str, error: str) -> None:
        """Note that `field` cannot be used."""
        self._problems.append(FieldError(truncate(field), clipped(error)))

    def text(self, field: str, value: object, limit: int) -> str | None:
        """Return text of 1..`limit` characters; absent and empty are nothing."""
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.problem(field, f"is {described(value)}, not text")
            return None
        error = text_error(value, limit)
        if error is not None:
            self.problem(field, error)
            return None
        return value

    def texts(self, field: str, value: object, limit: int, count: int) -> tuple[str, ...]:
        """Return the usable ones of a list, each once, at most `count`."""
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            self.problem(field, f"is {described(value)}, not a list of texts")
            return ()
        found: dict[str, None] = {}
        for index, entry in enumerate(value):
            if entry.__class__ is str and text_error(entry, limit) is None:
                found[entry] = None
            else:
                self.text(f"{field}[{index}]", entry, limit)
        texts = tuple(found)
        if len(texts) > count:
            self.problem(field, f"has {len(texts)} entries, the first {count} were kept")
        return texts[:count]

    def moment(self, field: str, value: object) -> Micros | None:
        """Return microseconds UTC in 2015..9999; what stands for 'never' is nothing."""
        if value is None or value == "":
            return None
        at = _utc(value)
        at = micros(value) if at is None else at
        if isinstance(at, str):
            self.problem(field, at)
            return None
        if at in NEVER:
            return None
        if not MIN_AT <= at <= MAX_AT:
            self.problem(field, f"is {described(value)}, outside the years 2015..9999")
            return None
        return at

    def versions(self, field: str, value: object) -> tuple[tuple[str, str], ...]:
        """Return (component, version) pairs."""
        if value is None or value == "":
            return ()
        pairs, problem = text.versions(value)
        if problem is not None:
            self.problem(field, problem)
        return pairs

    def metadata(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries that jsonb can hold, at most MAX_METADATA characters in all; None is left out."""
        kept: dict[str, Any] = {}
        room = MAX_METADATA
        for key, value in found.items():
            if value is None:
                continue
            error = text_error(key, MAX_NAME) or _json_error(value, MAX_DEPTH)
            if error is not None:
                self.problem(f"metadata.{key}", error)
                continue
            room -= len(key) + (len(value) if isinstance(value, str) else len(json.dumps(value)))
            if room < 0:
                self.problem(
                    key, f"exceeds {MAX_METADATA} characters of metadata a device: left out with what follows"
                )
                break
            kept[key] = value
        return kept


def newest(*moments: Micros | None) -> Micros | None:
    """Return the latest of the times that are known."""
    return max((at for at in moments if at is not None), default=None)


def _utc(value: object) -> Micros | str | None:
    """Read the form that clouds send, 2026-01-31T12:00:00.5Z, at a third of the cost of `micros`; None for others."""
    if not isinstance(value, str) or value[-1:] != "Z" or value[10:11] != "T":
        return None
    try:
        return (datetime.fromisoformat(value) - _EPOCH) // _MICROSECOND
    except ValueError:
        return None


def _json_error(value: object, depth: int) -> str | None:
    """Say why jsonb cannot hold `value`, or return None."""
    if isinstance(value, str):
        return text_error(value, MAX_METADATA) if value else None
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if not isinstance(value, dict | list):
        return None
    if depth == 0:
        return f"is nested deeper than {MAX_DEPTH}"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((error for entry in inner if (error := _json_error(entry, depth - 1))), None)
