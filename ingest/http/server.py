"""The HTTP side: one app on uvicorn in our own event loop. A connection may be idle, but not slow."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import httptools
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.egress.networks import Network, peer_of
from ingest.errors import Misconfigured
from ingest.http.health import Status
from ingest.http.metrics import Metrics
from ingest.http.peers import Peers
from ingest.http.proxies import behind_proxies
from ingest.problems import problem_response
from ingest.webhooks.route import Webhooks

READ_WITHIN_S = 15.0
"""For a whole request, from its first byte (of a new connection, from its start); then the connection is cut."""
HEAD_WITHIN_S = 5.0
"""For its head, on a connection that has not proved anything yet."""
MAX_HEAD = 32_768
"""Bytes of the request line and the headers."""
NOSNIFF = (b"x-content-type-options", b"nosniff")
TOO_LARGE = "The head of the request is too large."
UPGRADING = frozenset((b"upgrade", b"http2-settings"))
MAX_CONNECTIONS, MAX_CONNECTIONS_EACH = 1_000, 500
STOP_WITHIN_S = 3
LOOK_EVERY_S = 0.5

log = logging.getLogger(__name__)


def application(
    webhooks: Webhooks, status: Status, metrics: Metrics, platform: ASGIApp, proxies: Sequence[Network] = ()
) -> ASGIApp:
    """Return the app: webhooks stand before all layers of the others, whose requests are few.

    `proxies` may name the sender. What no route takes goes to `platform`, the API with its pages and its own errors.
    """
    routes = [
        Route("/healthz", status.healthz),
        Route("/readyz", status.readyz),
        Route("/metrics", metrics.expose),
        Mount("/", platform),
    ]
    others = Starlette(
        routes=routes, exception_handlers={HTTPException: problem_response, Exception: problem_response}
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope = behind_proxies(scope, proxies)
        path, raw = scope["path"], scope.get("raw_path") or b""
        if len(path) > 1 and raw[-1:] == b"/" and path[-2] != "/":
            scope = {**scope, "path": path[:-1], "raw_path": raw[:-1]}  # one slash too many is no other page
        if webhooks.takes(scope):
            await webhooks(scope, receive, send)
        else:
            await others(scope, receive, _unsniffed(send))

    return app


def _unsniffed(send: Send) -> Send:
    """Return a `send` that forbids to guess another content type than the one that is named."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.get("headers", [])
            if all(name.lower() != NOSNIFF[0] for name, _ in headers):
                message["headers"] = [*headers, NOSNIFF]
        await send(message)

    return sending


class Connection(HttpToolsProtocol):
    """One connection. uvicorn bounds how long it is idle; this bounds its head, and the time of a request."""

    due: float | None = None
    """When the request that is being read must be whole, on the loop's clock."""
    peer = ""
    _is_in = _is_proven = False
    _in_head = False
    _head = 0
    _wrong: str | None = None

    def __init__(self, peers: Peers, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._peers = peers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection if there is room."""
        super().connection_made(transport)
        self.peer = peer_of(self.client[0] if self.client else None)
        self._start_clock()
        self._is_in = self._peers.enter(self)
        if not self._is_in:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        super().connection_lost(exc)
        self._leave()

    def drop(self) -> None:
        """Cut it, in favour of another."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        if self._is_in:
            self._is_in = False
            self._peers.leave(self)

    def _prove(self) -> None:
        """Note that a request proved who sent it; the app calls it by the scope."""
        self._is_proven = True
        if self._is_in:
            self._peers.prove(self)

    def data_received(self, data: bytes) -> None:
        """Parse; an upgrade is not taken, and the request is what it is without."""
        self._unset_keepalive_if_required()
        rest = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    rest = self._without_upgrade() + rest[upgrade.args[0] :]
        except httptools.HttpParserError:
            self.send_400_response(self._wrong or "Invalid HTTP request received.")
            return
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response(TOO_LARGE)

    def _without_upgrade(self) -> bytes:
        """Return the head that was read as it is without its upgrade, for a parser that knows of none."""
        # Source: RFC 9110, 7.8: a server may ignore an Upgrade
        lines = [
            b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                kept = [one for one in value.split(b",") if one.strip().lower() not in UPGRADING]
                lines += [b"connection: " + b",".join(kept)] if kept else []
            elif name not in UPGRADING:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self.scope["proven"] = self._prove  # type: ignore[typeddict-unknown-key]
        self._start_clock()
        self._in_head, self._head = True, 0

    def on_headers_complete(self) -> None:
        """Check the head, and note that the rest is the body, which the app bounds."""
        self._wrong = self._error_of_head()
        if self._wrong is not None:
            raise ValueError(self._wrong)
        self._in_head = False
        if self.parser.should_upgrade():
            return  # comes again without
        super().on_headers_complete()
        if self.due is not None and not self._is_proven:
            self.due += max(0.0, READ_WITHIN_S - HEAD_WITHIN_S)

    def _error_of_head(self) -> str | None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > MAX_HEAD:
            return TOO_LARGE
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return "A request needs one Host."
        return "CONNECT is not served." if self.parser.get_method() == b"CONNECT" else None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self.parser.should_upgrade():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock; after an early answer it runs on, since uvicorn's own clock was stopped by the rest."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if not self.cycle.response_complete:
            self.due = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, and close."""
        head = b"HTTP/1.1 400 Bad Request\r\n%b: %b\r\ncontent-type: text/plain; charset=utf-8\r\n" % NOSNIFF
        self.transport.write(
            b"%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, len(msg), msg.encode())
        )
        self.transport.close()

    def _start_clock(self) -> None:
        self.due = self.loop.time() + (
            READ_WITHIN_S if self._is_proven else min(HEAD_WITHIN_S, READ_WITHIN_S)
        )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


class Http:
    """Serves an app on one address; `bound` is called with the port."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        bound: Callable[[int], None],
        peers: Peers | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=partial(Connection, peers or Peers(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH)),  # type: ignore[arg-type]
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
