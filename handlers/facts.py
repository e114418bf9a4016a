"""Provider facts of a device (all but telemetry): read, bounded, storable.

Every function takes the whole object and the keys under which a fact may stand, the preferred first; what is wrong
with a value is appended to `errors`, and the next key counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from handlers.conflicts import METADATA
from handlers.events import Facts, FieldError, GoliothStatus
from handlers.text import clipped, described, text_error, truncate

MAX_NAME = 255
MAX_HARDWARE_ID = 255
MAX_COHORT_ID = 255
MAX_TAG = 255
MAX_LISTED = 32
"""Hardware ids and tags of one device."""
MAX_METADATA_KEYS = 64
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE_BYTES = 1024
MAX_METADATA_BYTES = 16_384

GOLIOTH_STATUSES: Mapping[str, GoliothStatus] = {
    "enabled": "enabled",
    "disabled": "disabled",
    "suspended": "suspended",
}
Errors = list[FieldError]


def text(body: Mapping[str, Any], keys: Iterable[str], limit: int, errors: Errors) -> str | None:
    """Return the first usable text of at most `limit` characters; a whole number counts as its digits."""
    for key in keys:
        value = body.get(key)
        if value is None:
            continue
        if value.__class__ is int and -(10**18) < value < 10**18:
            value = str(value)
        if isinstance(value, str):
            value = value.strip()
            error = text_error(value, limit)
            if error is None:
                return value
        else:
            error = f"is {described(value)}, not text"
        errors.append(FieldError(truncate(key), clipped(error)))
    return None


def texts(body: Mapping[str, Any], keys: Iterable[str], limit: int, errors: Errors) -> tuple[str, ...] | None:
    """Return the first list of texts, each once, sorted; one that cannot be used costs only itself."""
    for key in keys:
        value = body.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            return _listed(key, value, limit, errors)
        errors.append(FieldError(truncate(key), clipped(f"is {described(value)}, not a list of texts")))
    return None


def _listed(key: str, values: list[Any], limit: int, errors: Errors) -> tuple[str, ...]:
    kept: set[str] = set()
    for value in values:
        error = (
            text_error(value.strip(), limit) if isinstance(value, str) else f"is {described(value)}, not text"
        )
        if error is None and len(kept) < MAX_LISTED:
            kept.add(value.strip())
            continue
        errors.append(
            FieldError(truncate(key), clipped(error or f"has {len(values)} entries: {MAX_LISTED} are kept"))
        )
        if error is None:
            break
    return tuple(sorted(kept))


def golioth_status(word: object) -> GoliothStatus | None:
    """Return what a word says about being enabled, or None."""
    return GOLIOTH_STATUSES.get(word.strip().lower()) if isinstance(word, str) and len(word) <= 64 else None


def metadata(value: object, errors: Errors, name: str = "metadata") -> Mapping[str, object] | None:
    """Return an object's small values, sorted by key; one that cannot be stored costs only itself."""
    if value is None:
        return None
    if not isinstance(value, dict):
        errors.append(FieldError(name, clipped(f"is {described(value)}, not an object")))
        return None
    kept: dict[str, object] = {}
    size = 0
    for key, stored, form in _storable(value, name, errors):
        size += len(key) + len(form)
        if len(kept) == MAX_METADATA_KEYS or size > MAX_METADATA_BYTES:
            told = (
                f"has {len(value)} keys: at most {MAX_METADATA_KEYS} and {MAX_METADATA_BYTES} bytes are kept"
            )
            errors.append(FieldError(name, told))
            break
        kept[key] = stored
    return kept


def _storable(value: dict[str, Any], name: str, errors: Errors) -> Iterator[tuple[str, object, bytes]]:
    """Yield the entries that jsonb takes, with each value's JSON."""
    for key in sorted(value):
        form = _json(value[key])
        error = text_error(key, MAX_METADATA_KEY)
        if error is None and form is None:
            error = "cannot be stored as JSON"
        elif error is None and form is not None and len(form) > MAX_METADATA_VALUE_BYTES:
            error = f"has {len(form)} bytes, at most {MAX_METADATA_VALUE_BYTES} are kept"
        if error is None and form is not None:
            yield key, value[key], form
        else:
            errors.append(FieldError(truncate(f"{name}.{key}"), clipped(error or "")))


def _json(value: object) -> bytes | None:
    """Return a value's JSON, or None where Postgres would refuse it: too deep, or with a NUL character."""
    try:
        form = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        return None
    return None if b"\\u0000" in form.replace(b"\\\\", b"") else form


def told(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield each fact that was told as (field, canonical JSON text); tags and metadata are keys of devices.metadata."""
    for field in ("name", "serial_number", "hardware_ids", "cohort_id", "golioth_status", "lifecycle"):
        value = getattr(facts, field)
        if value is not None and value != ():
            yield field, _canonical(value)
    for key, value in (facts.metadata or {}).items():
        if value is not None:
            yield METADATA + key, _canonical(value)
    if facts.tags is not None:
        yield METADATA + "tags", _canonical(facts.tags)


def _canonical(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
