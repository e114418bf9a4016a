"""Bytes -> MQTT 5 packets, however the network cut them. No I/O.

The codec raises IndexError for 'not enough bytes yet', ValueError for a malformed packet, and on text that is not UTF-8
a Rust panic, which is a BaseException. A packet that is not complete is parsed again only when all of it is here.
"""

from collections.abc import Callable

import mqtt5
from mqtt5 import PublishPacket

from handlers.events import Publish
from ingest.mqtt.port import Clock, Inbound, Released
from ingest.mqtt.skimming import HEAD, Skim, fixed_header, malformed

SLACK = 128 * 1024
"""Room for the topic and the properties, above max_payload, before a PUBLISH is skimmed instead of kept."""
MAX_CONTROL = 1 << 20
"""A packet other than PUBLISH that claims to be larger than this is not one of ours."""


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
            except IndexError:
                return self._keep(view[pos:])
            except ValueError as error:
                raise malformed(str(error), view[pos:]) from None
            except BaseException as error:
                if type(error).__module__ != "pyo3_runtime":
                    raise
                raise malformed("text that is not UTF-8", view[pos:]) from None
            if isinstance(packet, PublishPacket):
                topic, payload, first = packet.topic, packet.payload, buffer[pos]
                packet_id, size = packet.packet_id or 0, len(payload)
                qos = first >> 1 & 3
                if not topic or "\0" in topic or (qos and not packet_id):
                    raise malformed("a topic or packet id that is not allowed", view[pos:])
                if size > most:
                    payload = payload[:HEAD]
                retain, dup = first & 1 == 1, first & 8 == 8
                fields = (topic, payload, qos, retain, dup, packet_id, clock(), size, packet.content_type)
                append(new(Publish, fields))  # without its keyword arguments: 0.2 us less
            elif isinstance(packet, mqtt5.PubRelPacket):
                append(Released(packet.packet_id))
            else:
                self._on_control(packet)
            pos += length
        return None

    def _keep(self, view: memoryview) -> None:
        """Put an unfinished packet aside, or start to skim it."""
        header = fixed_header(view)
        if header is None:
            self._needed = len(view) + 1
        else:
            self._needed = header.length + header.remaining
            if self._needed <= len(view):
                raise malformed("fields longer than the packet", view)
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
