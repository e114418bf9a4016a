"""How many requests, and how many of their bytes, are in hand at once; what is too much is refused, never buffered."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import UUID

from starlette.types import Receive

from ingest.problems import Problem

MAX_BODY = 1 << 20
MAX_AT_ONCE = 1_024
MAX_AT_ONCE_EACH = 512
"""Of one integration."""
MAX_BUFFERED = 64 << 20
"""Bytes of bodies that are not yet in the pipeline."""


class Gate:
    """Counts what is in hand."""

    def __init__(self) -> None:
        self.requests = 0
        self.buffered = 0
        self._each: Counter[UUID] = Counter()

    @contextlib.contextmanager
    def entered(self, integration_id: UUID) -> Iterator[None]:
        """Let one request of an integration in. Raises: Problem (429)."""
        if self.requests >= MAX_AT_ONCE or self._each[integration_id] >= MAX_AT_ONCE_EACH:
            told = (
                f"more than {MAX_AT_ONCE_EACH} requests of this integration, or {MAX_AT_ONCE} in all, at once"
            )
            raise Problem(429, told, {"retry-after": "1"})
        self.requests += 1
        self._each[integration_id] += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._each[integration_id] -= 1
            if not self._each[integration_id]:
                del self._each[integration_id]

    async def body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """Return the body. The connection bounds the time that its sender may take.

        Raises: Problem: 413 beyond MAX_BODY, before any more is read; 503 without room; 400 for a sender that left.
        """
        if int(headers.get("content-length", 0)) > MAX_BODY:
            raise _too_large()
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "the sender left before its body was whole")
                chunk, more = message["body"], message["more_body"]
                size += len(chunk)
                self.buffered += len(chunk)
                if size > MAX_BODY:
                    raise _too_large()
                if self.buffered > MAX_BUFFERED:
                    raise Problem(503, "too many bodies are being read at once", {"retry-after": "1"})
                chunks.append(chunk)
        finally:
            self.buffered -= size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large() -> Problem:
    told = f"the body is larger than {MAX_BODY} bytes: send fewer events in one request"
    return Problem(413, told)
