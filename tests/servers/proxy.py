"""A TCP proxy on the loopback that a test puts before a server, to spoil the connection."""

import asyncio
from types import TracebackType
from typing import Self

PUBLISH, PUBACK, NOT_AUTHORIZED = 0x30, 0x40, 0x87
"""Source: MQTT 5, 2.1.2 and 3.4.2.1."""


class Packets:
    """Cuts a stream into MQTT packets."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, data: bytes) -> list[bytes]:
        """Return the packets that are whole by now."""
        self._rest += data
        found: list[bytes] = []
        while (size := _size(self._rest)) is not None and len(self._rest) >= size:
            found.append(bytes(self._rest[:size]))
            del self._rest[:size]
        return found


def _size(data: bytearray) -> int | None:
    """Return the bytes of the packet at the beginning; None while its length has not come. Source: MQTT 5, 1.5.5."""
    length = 0
    for place, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return 2 + place + length
    return None


def publish_to(prefix: bytes, packet: bytes) -> bytes | None:
    """Return the packet id of a QoS 1 PUBLISH to a topic that begins with `prefix`, else None."""
    if packet[0] & 0xF6 != PUBLISH | 0x02:
        return None
    start = next(n for n in range(1, 5) if packet[n] < 0x80) + 1
    end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    return packet[end : end + 2] if packet[start + 2 : end].startswith(prefix) else None


class Proxy:
    """`async with Proxy(port) as proxy`: connect to proxy.port instead.

    `sent`: what clients wrote, while `recording`. `swallow`: what the client sends from now on never arrives.
    `byte_by_byte`: what either side sends comes in single bytes. `delay_s`: and so much later, a piece at a time.
    `refusing`: nobody gets in. `forbidden`, of a proxy before an MQTT 5 broker (`mqtt`): a QoS 1 PUBLISH to a topic
    that begins so is answered `not authorized` and never arrives.
    """

    def __init__(self, target_port: int, *, recording: bool = True, mqtt: bool = False) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.swallow = False
        self.byte_by_byte = False
        self.delay_s = 0.0
        self.refusing = False
        self.forbidden: bytes | None = None
        self.sent = bytearray()
        self.swallowed = bytearray()
        self._recording = recording
        self._mqtt = mqtt
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._near: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        self._half_open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.refusing = True  # also who is on the way in
        self.flow()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection now, on both sides."""
        for writer in self._near | self._far:
            writer.transport.abort()
        self._near.clear()
        self._far.clear()
        self._half_open.clear()

    def halve(self) -> None:
        """Cut the server's side of every connection; the client's stays open, and nobody answers on it any more."""
        self._half_open |= self._near
        for writer in self._far:
            writer.transport.abort()
        self._far.clear()

    def stall(self) -> None:
        """Forward nothing any more; both connections stay open, as when the other side is gone without a word."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepting = asyncio.current_task()
        assert accepting is not None
        self._tasks.add(accepting)
        accepting.add_done_callback(self._tasks.discard)
        try:
            if self.refusing:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection(self.host, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        if self.refusing:
            writer.transport.abort()
            far_writer.transport.abort()
            return
        self._near.add(writer)
        self._far.add(far_writer)
        answering = asyncio.Lock()
        for pump in (
            self._up(reader, far_writer, writer, answering),
            self._down(far_reader, writer, answering),
        ):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        answering: asyncio.Lock,
    ) -> None:
        packets = Packets()
        try:
            while data := await reader.read(65_536):
                if self._mqtt:
                    data = await self._allowed(packets.cut(data), client, answering)
                if self._recording:
                    self.sent += data
                await self._flowing.wait()
                if self.swallow:
                    self.swallowed += data
                elif writer in self._far:
                    await self._forward(data, writer)
        except ConnectionError:
            pass
        finally:
            self._far.discard(writer)
            writer.close()

    async def _allowed(
        self, packets: list[bytes], client: asyncio.StreamWriter, answering: asyncio.Lock
    ) -> bytes:
        """Return the packets that may pass, and answer the others."""
        passing = bytearray()
        for packet in packets:
            packet_id = None if self.forbidden is None else publish_to(self.forbidden, packet)
            if packet_id is None:
                passing += packet
            else:
                async with answering:
                    client.write(bytes((PUBACK, 3)) + packet_id + bytes((NOT_AUTHORIZED,)))
        return bytes(passing)

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: asyncio.Lock
    ) -> None:
        packets = Packets()
        try:
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if self._mqtt:  # whole ones, so that an answer of ours stands between two
                    data = b"".join(packets.cut(data))
                async with answering:
                    await self._forward(data, writer)
        except ConnectionError:
            pass
        finally:
            if writer not in self._half_open:
                self._near.discard(writer)
                writer.close()

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        step = 1 if self.byte_by_byte else max(1, len(data))
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await asyncio.sleep(0)
        await writer.drain()
