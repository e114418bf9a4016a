"""JSON as devices send it that is none: one bad value costs that value, and the rest counts.

This is the second try, in the error path alone: `orjson` has refused the bytes. What is taken besides JSON: a UTF-8
byte order mark at the start and NULs at the end; NaN and infinity as C, JavaScript and Python print them; numbers
beyond a double; in a string, bytes that are not UTF-8, lone surrogates and raw control characters. Such a value becomes
null.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from handlers.events import FieldError
from handlers.keys import LEVELS, NAMES, READING, known_code
from handlers.text import MAX_ERROR, MAX_FIELD, MAX_VALUE, fitted

MAX_BYTES = 64 * 1024
"""Larger messages must be JSON: reading with tolerance takes up to a hundred times as long (40 ms for these)."""
MAX_DEPTH = 64
MAX_PROBLEMS = 100
"""Of one message; further bad values are null without a word."""
MAX_DIGITS = 20
BOM = b"\xef\xbb\xbf"

_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)'
    r"|[+-]?(?:nan(?:\([0-9A-Za-z_]{0,20}\))?|inf(?:inity)?|ovf|1\.#[A-Za-z]{2,5}[0-9]{0,9})(?![0-9A-Za-z_.])"
    r"|[][{}]",
    re.DOTALL | re.IGNORECASE,
)
_CONTROL = re.compile("[\0-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTE, _ESCAPED_CONTROL = 0xDC80, 0xDC00
"""Lone surrogates that stand for a byte that is not UTF-8, and for a raw control character."""
_HEADS = (
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"\xff\xfe", "it is UTF-16"),
    (b"\xfe\xff", "it is UTF-16"),
    (b"PK\x03\x04", "it is a zip file"),
)
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class NotJsonError(ValueError):
    """The bytes are no JSON, tolerant or not; the text says why and where, for people."""


class Bad(NamedTuple):
    """A value that was left out: where it stood, what it was and why."""

    path: tuple[str | int, ...]
    value: str
    reason: str

    def error(self, skip: int = 0) -> FieldError:
        """Return it as an error of its field, without the first `skip` steps of its path."""
        name = _SURROGATE.sub(_escape, _field(self.path[skip:]))
        return FieldError(
            fitted(name, MAX_FIELD) or '""', fitted(self.reason, MAX_ERROR), fitted(self.value, MAX_VALUE)
        )


def trimmed(payload: bytes) -> bytes:
    """Return text without one byte order mark before it, and without NULs and blanks after it."""
    return payload.removeprefix(BOM).rstrip(b"\0\t\n\r ")


def decoded(payload: bytes) -> str:
    """Return trimmed bytes as text. Raises: NotJsonError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        what = _kind(payload)
        told = f"it holds the byte 0x{payload[error.start]:02x} at byte {error.start + 1}"
        raise NotJsonError(f"{what or told}, which is not text of UTF-8") from None


def loads(payload: bytes) -> tuple[Any, list[Bad]]:
    """Return the JSON value and what of it was left out.

    Raises:
        NotJsonError: what is wrong and where.
    """
    body = trimmed(payload)
    what = _kind(body)
    if what is not None:
        raise NotJsonError(f"{what}, not text: send JSON as UTF-8 (line 1 column 1)")
    if body == payload and len(body) <= MAX_BYTES:
        return _Reader(body).read()
    try:
        return orjson.loads(body), []
    except orjson.JSONDecodeError as error:
        if len(body) > MAX_BYTES:
            decoded(body)
            raise NotJsonError(f"{error} (of more than {MAX_BYTES} bytes no bad value is left out)") from None
    return _Reader(body).read()


def _kind(payload: bytes) -> str | None:
    """Return what the bytes are where they are no text of UTF-8."""
    for head, what in _HEADS:
        if payload.startswith(head):
            return what
    if payload[:2] in _ZLIB and not payload[:64].isascii():
        return "it is compressed with zlib"
    if b"\x80" <= payload[:1] <= b"\xbf" or payload[:3] == b"\xd9\xd9\xf7":
        return "it is binary (CBOR or MessagePack)"
    if len(payload) > 3 and b"\0\0" in (payload[0:4:2], payload[1:4:2]):
        return "it is UTF-16 or UTF-32"
    return None


class _Reader:
    """Reads one text: bad values become markers of the same length, and those become null."""

    def __init__(self, body: bytes) -> None:
        self._text = body.decode("utf-8", "surrogateescape")
        self._odd: list[str] = []
        self._bad: list[Bad] = []
        self._depth = 0

    def read(self) -> tuple[Any, list[Bad]]:
        """Return the value and what was left out. Raises: NotJsonError."""
        marked = _TOKEN.sub(self._marked, self._text)
        odd = iter(self._odd)
        try:
            value = json.loads(
                marked,
                strict=False,
                parse_constant=lambda _: _Unusable(next(odd, "NaN"), "is not a finite number"),
                parse_float=_float,
                parse_int=_int,
            )
        except json.JSONDecodeError as error:
            raise NotJsonError(f"{error.msg}: line {error.lineno} column {error.colno}") from None
        if value.__class__ is _Unusable:
            raise NotJsonError(f"{fitted(value.text, MAX_VALUE)} {value.reason}: line 1 column 1")
        return self._clean(value, ()), self._bad

    def _marked(self, token: re.Match[str]) -> str:
        text = token.group()
        if text[0] == '"':
            return _CONTROL.sub(lambda one: chr(_ESCAPED_CONTROL + ord(one.group())), text)
        if text in "[{":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise NotJsonError(
                    f"nested deeper than {MAX_DEPTH} and not JSON: {self._place(token.start())}"
                )
        elif text in "]}":
            self._depth -= 1
        else:
            self._odd.append(text)
            return "NaN".ljust(len(text))
        return text

    def _place(self, index: int) -> str:
        line, column = self._text.count("\n", 0, index) + 1, index - self._text.rfind("\n", 0, index)
        return f"line {line} column {column}"

    def _clean(self, value: Any, path: tuple[str | int, ...]) -> Any:
        kind = value.__class__
        if kind is dict:
            return {key: self._clean(one, (*path, key)) for key, one in self._named(value, path)}
        if kind is list:
            return [self._clean(one, (*path, index)) for index, one in enumerate(value)]
        if kind is str and _SURROGATE.search(value):
            value = _Unusable(value, _reason(value))
        if value.__class__ is _Unusable:
            self._leave_out(path, value)
            return None
        return value

    def _named(self, value: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[tuple[str, Any]]:
        """Yield the entries of an object whose keys are text."""
        for key, one in value.items():
            if _SURROGATE.search(key):
                self._leave_out((*path, key), _Unusable(key, f"the key {_reason(key)}"))
            else:
                yield key, one

    def _leave_out(self, path: tuple[str | int, ...], value: "_Unusable") -> None:
        if len(self._bad) < MAX_PROBLEMS:
            self._bad.append(Bad(path, _SURROGATE.sub(_escape, value.text[:MAX_VALUE]), value.reason))


class _Unusable(NamedTuple):
    """A value that is left out; no JSON value has this class."""

    text: str
    reason: str


def _float(text: str) -> Any:
    value = float(text)
    return value if value - value == 0.0 else _Unusable(text, "is beyond a double")


def _int(text: str) -> Any:
    """Return a whole number as orjson does: beyond 64 bits a float."""
    if len(text) <= MAX_DIGITS and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    return _float(text)


def _escape(surrogate: re.Match[str]) -> str:
    """Return what a lone surrogate stands for: a byte, a control character, or itself."""
    code = ord(surrogate.group())
    stands_for_a_byte = _ESCAPED_CONTROL <= code < _ESCAPED_CONTROL + 0x20 or _ESCAPED_BYTE <= code < 0xDD00
    return f"\\x{code & 0xFF:02x}" if stands_for_a_byte else f"\\u{code:04x}"


def _reason(text: str) -> str:
    found = _SURROGATE.search(text)
    code = ord(found.group()) if found else 0
    if _ESCAPED_BYTE <= code <= _ESCAPED_BYTE + 0x7F:
        return f"holds the byte 0x{code & 0xFF:02x}, which is not UTF-8"
    if _ESCAPED_CONTROL <= code <= _ESCAPED_CONTROL + 0x1F:
        return f"holds the control character 0x{code & 0x1F:02x} as it is: escape it"
    return "contains a lone surrogate, which is not a character"


def _field(path: tuple[str | int, ...]) -> str:
    """Return a field's name: of a known key its own, else all steps."""
    prefix = "".join(f"[{step}]" for step in path[:1] if isinstance(step, int))
    steps = path[1:] if prefix else path
    if steps and isinstance(steps[-1], str) and (code := known_code(steps[-1])) != READING:
        steps = (NAMES[code & ~LEVELS],)
    named = ".".join(str(step) for step in steps)
    return f"{prefix}.{named}" if prefix and named else prefix or named
