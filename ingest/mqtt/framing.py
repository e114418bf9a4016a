"""From bytes to packets, incrementally: what is unfinished is kept and not parsed again, what is oversized is skimmed.

Source: MQTT 5, 2.1 (fixed header), 3.3 (PUBLISH), 1.5.5 (variable byte integer).
"""

from typing import NamedTuple

import mqtt5

from handlers.events import Publish
from ingest.errors import ProtocolBroken
from ingest.mqtt.port import Clock, Inbound, Released

HEAD = 65_536
"""Of an oversized payload this much is kept; properties longer than this are not kept at all."""
MAX_CONTROL = 1 << 20
"""No packet other than a PUBLISH has a reason to be larger."""

_PUBLISH = 3


class _MalformedError(Exception):
    """What cannot be parsed; `Framer.broken` tells the world."""


class _Skim(NamedTuple):
    """The header of a PUBLISH that is not to be buffered."""

    first: int
    topic: str
    packet_id: int
    properties: int
    payload: int
    length: int


class Framer:
    """Feed it what the socket gave; it appends to `inbound` and returns the other packets.

    `broken` is set once something could not be parsed: what came before it has been handed out, the rest is ignored.
    """

    def __init__(self, max_payload: int, clock: Clock) -> None:
        self.broken: ProtocolBroken | None = None
        self._max_payload = max_payload
        self._clock = clock
        self._pending = bytearray()
        self._need = 0
        self._skim: _Skim | None = None
        self._skip = 0
        self._left = 0
        self._head = bytearray()

    def feed(self, data: bytes, inbound: list[Inbound]) -> list[mqtt5.Packet]:
        """Parse all that is complete. Publishes and releases go to `inbound`, in order."""
        control: list[mqtt5.Packet] = []
        if self.broken is not None:
            return control
        if self._pending:
            self._pending += data
            if len(self._pending) < self._need:
                return control
            data = bytes(self._pending)
            self._pending.clear()
        try:
            self._parse(data, inbound, control)
        except _MalformedError as error:
            self.broken = ProtocolBroken(f"malformed packet, connection closed: {error}")
        return control

    def _parse(self, data: bytes, inbound: list[Inbound], control: list[mqtt5.Packet]) -> None:
        view, end, clock, limit = memoryview(data), len(data), self._clock, self._max_payload
        at = self._skimmed(view, inbound) if self._skim is not None else 0
        while at < end:
            length = data[at + 1] if at + 1 < end else 128
            stop = at + 2 + length
            if length > 127:
                stop = _stop(data, at)
            if stop > end or not stop:
                rest = data[at:]
                if stop and self._begin_skim(rest, stop - at):
                    at += self._skimmed(view[at:], inbound)
                    continue
                self._need = self._need if stop else 0
                self._pending += rest
                return
            packet = _read(view[at:stop])
            if type(packet) is mqtt5.PublishPacket:
                first, topic, payload = data[at], packet.topic, packet.payload
                size = len(payload)
                if size > limit:
                    payload = payload[:HEAD]
                qos, content_type = first >> 1 & 3, packet.content_type if size <= limit else None
                packet_id = packet.packet_id or 0
                _check(topic, qos, packet_id)
                retain, dup = first & 1 == 1, first & 8 == 8
                now = clock()
                inbound.append(Publish(topic, payload, qos, retain, dup, packet_id, now, size, content_type))
            elif type(packet) is mqtt5.PubRelPacket:
                inbound.append(Released(packet.packet_id))
            else:
                control.append(packet)
            at = stop

    def _begin_skim(self, rest: bytes, size: int) -> bool:
        """Decide about an unfinished packet: True when it is to be skimmed; else `_need` says when to look again."""
        self._need = size
        if rest[0] >> 4 != _PUBLISH:
            if size > MAX_CONTROL:
                raise _MalformedError(f"a packet of {size} bytes that is not a PUBLISH")
            return False
        if size <= self._max_payload:
            return False
        skim = _publish_header(rest, size)
        if skim is None:
            self._need = len(rest) + 1
            return False
        if skim.payload <= self._max_payload and skim.properties <= HEAD:
            return False
        self._skim, self._left = skim, skim.payload
        self._skip = skim.length + skim.properties
        return True

    def _skimmed(self, view: memoryview, inbound: list[Inbound]) -> int:
        """Pass over the packet being skimmed; return how many bytes of `view` belong to it."""
        skim = self._skim
        assert skim is not None
        at = min(self._skip, len(view))
        self._skip -= at
        taken = min(self._left, len(view) - at)
        self._head += view[at : at + min(taken, HEAD - len(self._head))]
        self._left -= taken
        if not self._skip and not self._left:
            qos, retain, dup = skim.first >> 1 & 3, skim.first & 1 == 1, skim.first & 8 == 8
            head, now = bytes(self._head), self._clock()
            inbound.append(Publish(skim.topic, head, qos, retain, dup, skim.packet_id, now, skim.payload))
            self._skim = None
            self._head.clear()
        return at + taken


def _read(view: memoryview) -> mqtt5.Packet:
    """Parse exactly one whole packet."""
    try:
        packet, size = mqtt5.read(view)
    except (ValueError, IndexError) as error:
        raise _MalformedError(str(error)) from error
    except BaseException as error:
        # A string that is not UTF-8 panics in mqtt5 0.8, and a pyo3 PanicException is not an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise _MalformedError("a string that is not UTF-8") from error
    if size != len(view):
        raise _MalformedError("remaining length does not fit the packet")
    return packet


def _check(topic: str, qos: int, packet_id: int) -> None:
    if "\0" in topic or not topic:
        raise _MalformedError("topic is empty or contains NUL")
    if qos and not packet_id:
        raise _MalformedError("packet id 0")


def _stop(data: bytes, at: int) -> int:
    """Where the packet at `at` ends, 0 while the fixed header is not complete."""
    number = _varint(data, at + 1)
    return number[1] + number[0] if number else 0


def _varint(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer and where it ends; None while it is not complete."""
    value = 0
    for shift, byte in enumerate(data[at : at + 4]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
        if shift == 3:
            raise _MalformedError("variable byte integer of more than four bytes")
    return None


def _publish_header(rest: bytes, size: int) -> _Skim | None:
    """Parse a PUBLISH up to where its properties begin; None while that much has not come."""
    fixed = _varint(rest, 1)
    if fixed is None or len(rest) < fixed[1] + 2:
        return None
    first, topic_at, qos = rest[0], fixed[1] + 2, rest[0] >> 1 & 3
    id_at = topic_at + int.from_bytes(rest[topic_at - 2 : topic_at], "big")
    properties_at = id_at + 2 if qos else id_at
    if qos == 3 or properties_at >= size:
        raise _MalformedError("PUBLISH header")
    number = _varint(rest, properties_at)
    if number is None:
        return None
    try:
        topic = rest[topic_at:id_at].decode()
    except UnicodeDecodeError as error:
        raise _MalformedError("a string that is not UTF-8") from error
    packet_id = int.from_bytes(rest[id_at:properties_at], "big")
    _check(topic, qos, packet_id)
    payload = size - number[1] - number[0]
    if payload < 0:
        raise _MalformedError("PUBLISH properties")
    return _Skim(first, topic, packet_id, number[0], payload, number[1])
