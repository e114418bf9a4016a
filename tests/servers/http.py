"""An HTTP server on the loopback that can be told to fail in every way that a cloud fails."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit


class Request(NamedTuple):
    """One request; header names in lower case, `path` still percent-encoded."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Response(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str] = {}


class Fault(NamedTuple):
    """What to do instead of answering well.

    status: answer with it. cut: half of the true answer, then close. slow: half of it, then nothing. silent: nothing at
    all. closed: close without an answer. garbled: the true answer with its last byte missing, of the right length.
    """

    kind: Literal["status", "cut", "slow", "silent", "closed", "garbled"]
    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = {}


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """`async with HttpServer(handler) as server`. What a handler raises fails the test at the end.

    `fail` queues faults for the requests to come, `fail_write` spoils the next that is no GET; `always` is for every
    request without one of these.
    """

    def __init__(self, handler: Handler) -> None:
        self.requests: list[Request] = []
        self.always: Fault | None = None
        self.fail_write: Fault | None = None
        self.port = 0
        self._handler = handler
        self._faults: deque[Fault] = deque()
        self._failures: list[Exception] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, *faults: Fault) -> None:
        self._faults.extend(faults)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failures and error is None:
            raise self._failures[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await self._answer(request, writer):
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as failure:
            self._failures.append(failure)
        finally:
            self._tasks.discard(task)
            if not writer.is_closing():
                writer.transport.abort()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer, or spoil it; False ends the connection."""
        fault = self._faults.popleft() if self._faults else self.always
        if self.fail_write is not None and request.method != "GET":
            fault, self.fail_write = self.fail_write, None
        if fault is not None and fault.kind == "status":
            return await _send(writer, Response(fault.status, fault.body, fault.headers))
        response = await self._handler(request)
        if fault is None:
            return await _send(writer, response)
        payload = _payload(response)
        if fault.kind == "garbled":
            writer.write(_head(response, len(payload) - 1) + payload[:-1])
        if fault.kind in ("cut", "slow"):
            writer.write(_head(response, len(payload)) + payload[: len(payload) // 2])
        await writer.drain()
        if fault.kind in ("slow", "silent"):
            await asyncio.Event().wait()
        if fault.kind == "garbled":
            return True
        writer.close()
        return False


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body)


async def _send(writer: asyncio.StreamWriter, response: Response) -> bool:
    payload = _payload(response)
    writer.write(_head(response, len(payload)) + payload)
    await writer.drain()
    return True


def _payload(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"" if response.body is None else json.dumps(response.body).encode()


def _head(response: Response, length: int) -> bytes:
    headers = {"content-type": "application/json", **response.headers, "content-length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {response.status} X\r\n{lines}\r\n".encode("latin-1")
