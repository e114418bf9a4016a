"""A PUBLISH too large to keep: its head is kept, the rest is read past."""

from typing import NamedTuple

from ingest.errors import ProtocolBroken

HEAD = 64 * 1024
"""How much of an oversized payload is kept, in bytes."""
MAX_PROPERTIES = 64 * 1024
"""Properties beyond this are dropped with the rest."""

_VARIABLE_HEADER = 2 + 65_535 + 2 + 4
_KEEP = _VARIABLE_HEADER + MAX_PROPERTIES + HEAD


class FixedHeader(NamedTuple):
    """The start of a packet. `length` counts the header itself, `remaining` what follows it."""

    length: int
    remaining: int


def fixed_header(view: memoryview) -> FixedHeader | None:
    """Read the fixed header, None while it is not complete. Source: MQTT 5, 1.5.5 and 2.1.

    Raises: ProtocolBroken when the remaining length takes more than four bytes.
    """
    remaining = 0
    for i in range(1, 5):
        if i >= len(view):
            return None
        remaining |= (view[i] & 0x7F) << 7 * (i - 1)
        if view[i] < 0x80:
            return FixedHeader(i + 1, remaining)
    raise malformed("invalid remaining length", view)


def properties_end(body: bytes, start: int, most: int) -> int:
    """Return where the properties of a PUBLISH that begin at `start` end; `start` where that is past `most`."""
    try:
        # Their length is coded like a remaining length: read it as one, behind a byte that stands for the first.
        header = fixed_header(memoryview(b"\x00" + body[start : start + 4]))
    except ProtocolBroken:
        return start
    end = start if header is None else start + header.length - 1 + header.remaining
    return end if end <= most else start


def malformed(why: str, view: memoryview) -> ProtocolBroken:
    """Compose the end of a connection whose peer sent what cannot be parsed: the reason and how the packet starts."""
    return ProtocolBroken(
        f"malformed packet, connection closed: {why} (it starts {bytes(view[:16]).hex(' ')})"
    )


class Skim:
    """One oversized PUBLISH in the course of being read: at most 192 KiB of it are kept."""

    __slots__ = ("_body", "_first", "_left", "_remaining")

    def __init__(self, first: int, remaining: int) -> None:
        self._first = first
        self._remaining = remaining
        self._left = remaining
        self._body = bytearray()

    @property
    def done(self) -> bool:
        """The whole packet has been read."""
        return self._left == 0

    @property
    def kept(self) -> int:
        """Bytes held now."""
        return len(self._body)

    def feed(self, view: memoryview) -> int:
        """Read on and return how many bytes belonged to this packet."""
        taken = min(len(view), self._left)
        self._body += view[: min(taken, _KEEP - len(self._body))]
        self._left -= taken
        return taken

    def finish(self) -> tuple[bytes, int]:
        """Return the packet shortened to the head of its payload, and the payload's full size.

        Properties that cannot be told from the payload are taken for a part of it.
        """
        body = bytes(self._body)
        start = 2 + int.from_bytes(body[:2]) + (2 if self._first & 0x06 else 0)
        payload = properties_end(body, start, self._remaining)
        kept = b"\x00" if payload - start > MAX_PROPERTIES or payload == start else body[start:payload]
        short = b"".join((body[:start], kept, body[payload : payload + HEAD]))
        return bytes([self._first]) + _remaining_length(len(short)) + short, self._remaining - payload


def _remaining_length(length: int) -> bytes:
    digits = bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes(digits)
