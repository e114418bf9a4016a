"""The network connection under both adapters: TCP or TLS, keep-alive, back-pressure, one reason for the end."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from ingest.errors import BrokerAway, NoConnack
from ingest.mqtt.outbox import PINGREQ
from ingest.mqtt.port import Broker
from ingest.mqtt.tls import read_context, tls_failure

T = TypeVar("T")
LINGER_S = 1.0
"""How long a closing connection waits for the peer before it is cut."""
PING_AFTER = 0.5
DEAD_AFTER = 1.25
_TICKS = 8
"""Per keep-alive interval: PINGREQ after half of idleness, dead after 1.25 of silence, looked at 8 times."""


class Wire(asyncio.Protocol):
    """One connection to a broker. `on_bytes` gets what came; `on_end` is called once, with the reason."""

    def __init__(self, on_bytes: Callable[[bytes], None], on_end: Callable[[BrokerAway], None]) -> None:
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._connack: asyncio.Future[Any] | None = None
        self._ended = False
        self._paused = self._held = False
        self._keep_alive_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._said_at = self._pinged_at = self._loop.time()

    async def greet(self, broker: Broker, send: Callable[[], object], connack: asyncio.Future[T]) -> T:
        """Connect, `send` the CONNECT and wait until the adapter resolves `connack`, all within the broker's bound.

        Raises: NoConnack (hung up on CONNECT, or silent), BrokerAway, or what the connection was ended with meanwhile.
        """
        self._connack = connack
        within_s = broker.connect_timeout_s
        try:
            async with asyncio.timeout(within_s):
                await self._open(broker)
                send()
                return await connack
        except TimeoutError:
            kind = BrokerAway if self._transport is None else NoConnack
            away = kind(f"{broker.host}:{broker.port} did not answer within {within_s:g} s")
            self.end(away)
            raise away from None
        except BaseException:
            self.end(BrokerAway("connecting was abandoned"))
            raise

    async def _open(self, broker: Broker) -> None:
        where = f"{broker.host}:{broker.port}"
        try:
            context = None if broker.tls is None else await read_context(broker.tls, broker.files)
            connected = await broker.egress.connected(broker.host, broker.port)
            transport, _ = await self._loop.create_connection(
                lambda: self,
                sock=connected,
                ssl=context,
                server_hostname=None if context is None else broker.host,
                ssl_handshake_timeout=None if context is None else broker.connect_timeout_s,
                ssl_shutdown_timeout=None if context is None else LINGER_S,
            )
        except ssl.SSLError as error:
            raise BrokerAway(f"{where} cannot be reached: {tls_failure(error)}") from error
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokerAway(f"{where} cannot be reached: {_reason(error)}") from error
        _limit_silence(transport, broker.keep_alive_s)

    @property
    def paused(self) -> bool:
        """Whether reading is stopped, so that no answer can be seen."""
        return (self._paused or self._held) and not self._ended

    def start_keep_alive(self, keep_alive_s: float) -> None:
        """Send PINGREQ when idle and end the connection when the peer is silent; 0 turns both off."""
        self._keep_alive_s = keep_alive_s
        if keep_alive_s > 0 and not self._ended:
            self._heard_at = self._loop.time()
            self._tick()

    def write(self, data: bytes) -> None:
        """Send; nothing after the end."""
        if self._transport is not None and not self._ended and data:
            self._said_at = self._loop.time()
            self._transport.write(data)

    def pause(self) -> None:
        """Stop reading. PINGREQs go on; a missing PINGRESP is then no sign of death, a dead TCP connection is."""
        self._read_or_not(paused=True, held=self._held)

    def resume(self) -> None:
        """Read again; the peer's silence counts from now."""
        self._read_or_not(paused=False, held=self._held)

    def hold(self, held: bool) -> None:
        """Stop or start reading for the inbox's sake, whatever `pause` says."""
        if held is not self._held:
            self._read_or_not(paused=self._paused, held=held)

    def _read_or_not(self, *, paused: bool, held: bool) -> None:
        before = self.paused
        self._paused, self._held = paused, held
        if self._transport is None or self._ended or self.paused is before:
            return
        if before:
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def end(self, error: BrokerAway, farewell: bytes = b"") -> None:
        """End the connection now, for this reason; the first reason counts."""
        self.write(farewell)
        self._finish(error)
        if self._transport is not None:
            self._transport.abort()

    async def close(self, farewell: bytes) -> None:
        """Say farewell, let the peer hang up (so that it has read everything before), and cut after LINGER_S."""
        self._read_or_not(paused=False, held=False)
        self.write(farewell)
        self._finish(BrokerAway("closed by us"))
        if self._transport is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._closed), LINGER_S)
        except TimeoutError:
            self._transport.abort()
            await self._closed
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        if self._ended:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand on what came (asyncio.Protocol)."""
        self._heard_at = self._loop.time()
        if self._socket is not None and hasattr(socket, "TCP_QUICKACK"):
            # A broker that keeps Nagle's algorithm waits for our ACK before its next small packet, and the kernel
            # delays ACKs by up to 40 ms. The option holds only until the next packet.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not self._ended:
            self._on_bytes(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end (asyncio.Protocol)."""
        self._finish(self._loss(exc))
        if not self._closed.done():
            self._closed.set_result(None)

    def _finish(self, error: BrokerAway) -> None:
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connack is not None and not self._connack.done():
            self._connack.set_exception(error)
            # Retrieved here: nobody awaits it yet when the connection could not even be made.
            self._connack.exception()
        self._on_end(error)

    def _loss(self, exc: Exception | None) -> BrokerAway:
        greeting = self._connack is not None and not self._connack.done()
        if greeting and not isinstance(exc, ssl.SSLError):
            return NoConnack(f"the broker hung up on CONNECT: {_reason(exc)}")
        return BrokerAway(f"connection lost: {_reason(exc)}")

    def _tick(self) -> None:
        now, interval = self._loop.time(), self._keep_alive_s
        silence = now - self._heard_at
        if not self.paused and silence >= DEAD_AFTER * interval:
            self.end(
                BrokerAway(f"connection lost: the broker has been silent for {silence:.1f} s (keep-alive)")
            )
            return
        quiet = max(now - self._said_at, min(silence, now - self._pinged_at))
        if quiet >= PING_AFTER * interval:
            self._pinged_at = now
            self.write(PINGREQ)
        self._timer = self._loop.call_later(interval / _TICKS, self._tick)


def _reason(exc: Exception | None) -> str:
    if exc is None:
        return "the broker closed the connection"
    if isinstance(exc, ssl.SSLError):
        return tls_failure(exc)
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def _limit_silence(transport: asyncio.Transport, keep_alive_s: int) -> None:
    """Let the kernel notice a dead peer too: the only detection there is while reading is paused."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and keep_alive_s > 0 and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, keep_alive_s * 1500)
