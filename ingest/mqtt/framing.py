"""Bytes -> MQTT 5 packets, however the network cut them. No I/O.

The codec raises IndexError for 'not enough bytes yet', ValueError for a malformed packet, and on text that is not UTF-8
a Rust panic, which is a BaseException. A packet that is not complete is parsed again only when all of it is here. A
PUBLISH that is whole and malformed is skipped where it can be acknowledged; else the connection ends.
"""

from collections.abc import Callable

import mqtt5
from mqtt5 import PublishPacket

from handlers.events import Publish
from ingest.mqtt.port import Clock, Inbound, Released
from ingest.mqtt.skimming import HEAD, Skim, fixed_header, malformed
from ingest.mqtt.unreadable import Unreadable, salvaged

SLACK = 128 * 1024
"""Room for the topic and the properties, above max_payload, before a PUBLISH is skimmed instead of kept."""
MAX_CONTROL = 1 << 20
"""A packet other than PUBLISH that claims to be larger than this is not one of ours."""
INCOMPLETE = "fields longer than the packet"
"""Also the codec's word for a packet of which some is still to come."""


class Framing:
    """The incremental parser of one connection."""

    __slots__ = ("_carry", "_clock", "_max_payload", "_needed", "_on_control", "_skim")

    def __init__(self, clock: Clock, max_payload: int, on_control: Callable[[mqtt5.Packet], None]) -> None:
        self._clock = clock
        self._max_payload = max_payload
        self._on_control = on_control
        self._carry = bytearray()
        self._needed = 0
        self._skim: Skim | None = None

    @property
    def kept(self) -> int:
        """Bytes of an unfinished packet that are held now."""
        return len(self._carry) if self._skim is None else self._skim.kept

    def feed(self, data: bytes, inbound: list[Inbound]) -> None:
        """Append the PUBLISHes and PUBRELs in `data` to `inbound`, in order; hand every other packet to `on_control`.

        Raises: ProtocolBroken at the first packet that cannot be parsed; what came before it has been delivered.
        """
        buffer: bytes | bytearray = data
        if self._skim is not None:
            buffer = self._skim_on(self._skim, data, inbound)
        elif self._carry:
            self._carry += data
            if len(self._carry) < self._needed:
                return
            buffer, self._carry = self._carry, bytearray()
        self._parse(buffer, inbound)

    def _parse(self, buffer: bytes | bytearray, inbound: list[Inbound]) -> None:
        read, clock, append, most, new = (
            mqtt5.read,
            self._clock,
            inbound.append,
            self._max_payload,
            tuple.__new__,
        )
        view = memoryview(buffer)
        pos, end = 0, len(buffer)
        while pos < end:
            try:
                packet, length = read(view[pos:])
            except BaseException as error:
                if not (length := self._skipped(error, view[pos:], inbound)):
                    return self._keep(view[pos:])
                pos += length
                continue
            if isinstance(packet, PublishPacket):
                topic, payload, first = packet.topic, packet.payload, buffer[pos]
                packet_id, size = packet.packet_id or 0, len(payload)
                qos = first >> 1 & 3
                if not topic or "\0" in topic or (qos and not packet_id):
                    append(self._salvaged(view[pos:], "a topic or packet id that is not allowed"))
                    pos += length
                    continue
                if size > most:
                    payload = payload[: min(HEAD, most)]
                retain, dup = first & 1 == 1, first & 8 == 8
                fields = (topic, payload, qos, retain, dup, packet_id, clock(), size, packet.content_type)
                append(new(Publish, fields))  # without its keyword arguments: 0.2 us less
            elif isinstance(packet, mqtt5.PubRelPacket):
                append(Released(packet.packet_id))
            else:
                self._on_control(packet)
            pos += length
        return None

    def _skipped(self, error: BaseException, view: memoryview, inbound: list[Inbound]) -> int:
        """Take a PUBLISH that the codec did not; return its length, or 0 where the rest of it is still to come.

        Raises: ProtocolBroken where it cannot be skipped; what is no fault of the packet.
        """
        if isinstance(error, IndexError):
            why = INCOMPLETE
        elif isinstance(error, ValueError):
            why = str(error)
        elif type(error).__module__ == "pyo3_runtime":
            why = "text that is not UTF-8"
        else:
            raise error
        if length := self._whole(view, why):
            inbound.append(self._salvaged(view, why))
        return length

    def _whole(self, view: memoryview, why: str) -> int:
        """Return the length of a packet that the codec did not take; 0: the rest of it is still to come.

        Raises: ProtocolBroken where that would change nothing.
        """
        header = fixed_header(view)
        if header is not None and header.length + header.remaining <= len(view):
            return header.length + header.remaining
        if why != INCOMPLETE and view[0] & 0xF0 != 0x30:
            raise malformed(why, view)
        return 0

    def _salvaged(self, view: memoryview, why: str) -> Unreadable:
        """Return a whole PUBLISH that is not allowed. Raises: ProtocolBroken where it cannot be acknowledged."""
        header = fixed_header(view)
        if header is not None and view[0] & 0xF0 == 0x30:
            body = bytes(view[header.length : header.length + header.remaining])
            publish = salvaged(view[0], body, self._clock(), self._max_payload, properties=True)
            if publish is not None:
                return publish
        raise malformed(why, view)

    def _keep(self, view: memoryview) -> None:
        """Put an unfinished packet aside, or start to skim it."""
        header = fixed_header(view)
        if header is None:
            self._needed = len(view) + 1
        else:
            self._needed = header.length + header.remaining
            is_publish = view[0] & 0xF0 == 0x30
            if is_publish and header.remaining > self._max_payload + SLACK:
                self._skim = Skim(view[0], header.remaining)
                self._skim.feed(view[header.length :])
                return
            if not is_publish and header.remaining > MAX_CONTROL:
                raise malformed(f"a control packet of {header.remaining} bytes", view)
        self._carry = bytearray(view)

    def _skim_on(self, skim: Skim, data: bytes, inbound: list[Inbound]) -> bytes:
        """Read past more of an oversized PUBLISH, deliver it at its end, and return what follows it."""
        taken = skim.feed(memoryview(data))
        if not skim.done:
            return b""
        self._skim = None
        packet, size = skim.finish()
        shortened: list[Inbound] = []
        self._parse(packet, shortened)
        inbound.extend(p._replace(size=size) for p in shortened if isinstance(p, Publish))
        return data[taken:]
