"""The HTTP side: one app on uvicorn in our own event loop. A connection may be idle, but not slow."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.errors import Misconfigured
from ingest.metrics import Metrics
from ingest.problems import answered
from ingest.status import Status
from ingest.webhooks.route import Webhooks

READ_WITHIN_S = 15.0
"""For a whole request, from its first byte (of a new connection, from its start); then the connection is cut."""
MAX_HEAD = 32_768
"""Bytes of the request line and the headers."""
MAX_CONNECTIONS = 1_000
STOP_WITHIN_S = 3
LOOK_EVERY_S = 0.5

log = logging.getLogger(__name__)


def application(webhooks: Webhooks, status: Status, metrics: Metrics, platform: ASGIApp) -> ASGIApp:
    """Return the app: webhooks stand before all layers of the others, whose requests are few.

    What no route here takes goes to `platform`, the API with its pages and its own errors.
    """
    routes = [
        Route("/healthz", status.healthz),
        Route("/readyz", status.readyz),
        Route("/metrics", metrics.expose),
        Mount("/", platform),
    ]
    others = Starlette(routes=routes, exception_handlers={HTTPException: answered, Exception: answered})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = webhooks if webhooks.takes(scope) else others
        await chosen(scope, receive, send)

    return app


class Connection(HttpToolsProtocol):
    """One connection. uvicorn bounds how long it is idle; this bounds its head, and the time of a request."""

    due: float | None = None
    """When the request that is being read must be whole, on the loop's clock."""
    _in_head = False
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection if there is room."""
        super().connection_made(transport)
        self._start_clock()
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that is not complete yet may not grow for ever."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self._start_clock()
        self._in_head, self._head = True, 0

    def on_headers_complete(self) -> None:
        """Note that the rest is the body, which the app bounds."""
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        """Stop the clock; after an early answer it runs on, since uvicorn's own clock was stopped by the rest."""
        super().on_message_complete()
        if not self.cycle.response_complete:
            self.due = None

    def _start_clock(self) -> None:
        self.due = self.loop.time() + READ_WITHIN_S


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


class Http:
    """Serves an app on one address; `bound` is told the port."""

    def __init__(self, app: ASGIApp, host: str, port: int, bound: Callable[[int], None]) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
        self._server = _Server(config)
        self._address = host, port
        self._bound = bound
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`. Raises: Misconfigured when the address cannot be had."""
        try:
            with self._listening() as listening:
                host, port = listening.getsockname()[:2]
                log.info("HTTP listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
                self._bound(port)
                cutting = asyncio.create_task(self._cut_the_slow(), name="cut the slow")
                try:
                    await self._server.serve([listening])
                finally:
                    cutting.cancel()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop accepting, answer what is in hand, and return when that is done or STOP_WITHIN_S have passed."""
        self._server.should_exit = True
        await self._ended.wait()

    def _listening(self) -> socket.socket:
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # the protocol is named because asyncio sets TCP_NODELAY only then: without it each answer waits for an ACK
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen()
            return listening
        except OSError as error:
            listening.close()
            told = f"ROLLCALL_HTTP_HOST {host} and ROLLCALL_HTTP_PORT {port} cannot be listened on: {error.strerror}"
            raise Misconfigured(told) from None

    async def _cut_the_slow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = loop.time()
            for connection in list(self._server.server_state.connections):
                if isinstance(connection, Connection) and connection.due is not None and connection.due < now:
                    connection.transport.abort()
