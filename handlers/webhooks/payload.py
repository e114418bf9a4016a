"""The bytes of a device's own message, in any of the usual content types, to a value as JSON has them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from io import BytesIO
from typing import Any

import cbor2
import orjson

from handlers import tolerant
from handlers.events import FieldError
from handlers.text import truncate

MAX_DEPTH = 64
"""Of a CBOR message; cbor2 itself stops at 400, but a message may refer to itself."""
_MAX_INT = 1 << 64
_TEXT_HEADS = (b"{", b"[", b'"')


def loads(body: bytes, content_type: str, errors: list[FieldError]) -> object:
    """Return the JSON value, the CBOR value without what JSON has not, or the text.

    What is left out of what is almost JSON is appended to `errors`.

    Raises:
        ValueError: what is wrong, for people.
    """
    if content_type == "application/cbor" or content_type.endswith("+cbor"):
        return _from_cbor(body)
    text = content_type.startswith("text/")
    body = tolerant.trimmed(body)
    try:
        if text and not body.lstrip().startswith(_TEXT_HEADS):
            return tolerant.decoded(body)
        return _from_json(body, errors)
    except tolerant.NotJsonError as error:
        if text and body.lstrip().startswith(_TEXT_HEADS):
            return body.decode("utf-8", "replace")
        if text:
            raise ValueError(f"the body is {truncate(content_type)}: {error}") from None
        if content_type in ("", "application/json") or content_type.endswith("+json"):
            raise ValueError(f"the body is not JSON: {error}") from None
        raise ValueError(
            f"the body is {truncate(content_type)}, and not JSON: send JSON, CBOR or text"
        ) from None


def _from_json(body: bytes, errors: list[FieldError]) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        value, bad = tolerant.loads(body)
    errors += [one.error() for one in bad]
    return value


def _from_cbor(body: bytes) -> object:
    stream = BytesIO(body)
    try:
        value = cbor2.load(stream)
    except Exception as error:  # the readers of its tags (dates, fractions, patterns) raise what they like
        raise ValueError(f"the body is not CBOR: {error}") from None
    rest = body[stream.tell() :].rstrip(b"\0")
    if rest:
        raise ValueError(f"the body is more than one item of CBOR: {len(rest)} bytes follow the first")
    return _Cleaner(len(body)).clean(value, 0)


class _Cleaner:
    """Rebuilds a CBOR value out of JSON's types; others become None, and keys only stay as text or integer.

    Each node costs a byte or more, so more nodes than bytes are references to the same ones.
    """

    def __init__(self, size: int) -> None:
        self._left = size + 1

    def clean(self, value: Any, depth: int) -> object:
        """Return `value` in JSON's types. Raises: ValueError."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("the CBOR body refers to its own parts too often: send each value in its place")
        if depth > MAX_DEPTH:
            raise ValueError(f"the CBOR body is nested deeper than {MAX_DEPTH}")
        if value is None or isinstance(value, bool | str | float):
            return value
        if isinstance(value, int | Decimal | Fraction):
            return _number(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, cbor2.CBORTag):
            return self.clean(value.value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(entry, depth + 1) for entry in value]
        if isinstance(value, Mapping):  # inside a tag it is cbor2's frozendict
            return {
                str(key): self.clean(entry, depth + 1)
                for key, entry in value.items()
                if isinstance(key, str) or (isinstance(key, int) and -_MAX_INT < key < _MAX_INT)
            }
        return None


def _number(value: int | Decimal | Fraction) -> object:
    if isinstance(value, int) and -_MAX_INT < value < _MAX_INT:
        return value
    try:
        return float(value)
    except (OverflowError, ValueError):
        return None
