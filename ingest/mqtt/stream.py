"""The TCP or TLS stream beneath a connection: opened with its options set, closed within a bound."""

import asyncio
import contextlib
import socket
import ssl
import sys

from ingest.errors import BrokerAway
from ingest.mqtt.port import Broker
from ingest.mqtt.tls import ssl_context, tls_failure


async def open_stream(broker: Broker, protocol: asyncio.Protocol) -> asyncio.Transport:
    """Connect `protocol`; the caller bounds the wait.

    Raises: BrokerAway, Misconfigured.
    """
    context = ssl_context(broker.tls) if broker.tls is not None else None
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_connection(lambda: protocol, broker.host, broker.port, ssl=context)
    except ssl.SSLError as error:
        raise BrokerAway(f"{broker.host}:{broker.port}: {tls_failure(error)}") from error
    except OSError as error:
        raise BrokerAway(f"{broker.host}:{broker.port} cannot be reached: {error}") from error
    set_options(transport.get_extra_info("socket"), broker.keep_alive_s)
    return transport


def set_options(sock: socket.socket, keep_alive_s: int) -> None:
    """Send at once, and let the kernel notice a dead network too: the only way while reading is paused."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux" and keep_alive_s:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, keep_alive_s * 1500)


async def close_stream(transport: asyncio.Transport, lost: asyncio.Event, timeout_s: float) -> None:
    """Let the peer close first, so that it has read all that was written; then close, then abort, within a bound.

    Closed by us at once, what a broker has not read yet can be overtaken by our next connection: acknowledgements
    would be lost that the caller believes to have been sent.
    """
    transport.resume_reading()
    for step in (transport.close, transport.abort, transport.abort):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lost.wait(), timeout_s)
            return
        step()
