"""Limits of every request, by rate and size, and the security headers of every answer."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.problems import Problem

MAX_BUCKETS = 10_000
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"private, no-cache",
}
NO_STORE = "no-store"
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


@dataclass(slots=True)
class Bucket:
    """The requests that one caller has left, and as of when."""

    tokens: float
    at: float


class Buckets:
    """A token bucket per caller, in memory: `per_s` requests a second after `burst` at once."""

    def __init__(self, per_s: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._now = now
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request. Raises: Problem 429, saying when there is room again."""
        now = self._now()
        bucket = self._buckets.pop(caller, None) or Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        self._buckets[caller] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            wait_s = int((1 - bucket.tokens) / self._per_s) + 1
            raise Problem(
                429, f"too many requests: try again in {wait_s} s", headers={"retry-after": str(wait_s)}
            )
        bucket.tokens -= 1


class Edge:
    """ASGI middleware: refuses bodies above `max_body` bytes before they are read, adds headers, reports the status."""

    def __init__(
        self, app: ASGIApp, max_body: int, on_status: Callable[[int], None] = lambda status: None
    ) -> None:
        self._app = app
        self._max_body = max_body
        self._on_status = on_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_status(message["status"])
                headers = message["headers"]
                present = {name.lower() for name, _ in headers}
                added = (*HEADERS.items(), POLICY)
                message["headers"] = [*headers, *(header for header in added if header[0] not in present)]
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_body:
            await self._refused(scope, receive, secured)
            return
        await self._app(scope, self._counted(receive), secured)

    async def _refused(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._too_large().response()(scope, receive, send)

    def _too_large(self) -> Problem:
        return Problem(
            413, f"the body is larger than {self._max_body} bytes", headers={"connection": "close"}
        )

    def _counted(self, receive: Receive) -> Receive:
        room = self._max_body

        async def counting() -> Message:
            nonlocal room
            message = await receive()
            room -= len(message.get("body", b""))
            if room < 0:
                raise HTTPException(
                    413, self._too_large().detail
                )  # any other is a 400 to who parses the body
            return message

        return counting
