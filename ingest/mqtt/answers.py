"""Requests that wait for an answer: SUBACK and PUBACK by packet id, in a bounded time."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ingest.errors import BrokerAway

WITHIN_S = 10.0
MOVING_BYTES = 100
"""As much in WITHIN_S is a session's backlog that comes before the answer; a few PINGRESPs are less."""
T = TypeVar("T")


class Answers(Generic[T]):
    """Answers by packet id. The wait goes on while `paused()` (nothing can be read), and while `seen()` bytes grow."""

    __slots__ = ("_paused", "_reason", "_seen", "_waiting")

    def __init__(self, paused: Callable[[], bool], seen: Callable[[], int]) -> None:
        self._paused = paused
        self._seen = seen
        self._reason: BrokerAway | None = None
        self._waiting: dict[int, asyncio.Future[T]] = {}

    def __contains__(self, packet_id: int) -> bool:
        return packet_id in self._waiting

    async def wait(self, packet_id: int, what: str) -> T:
        """Wait for the answer to `packet_id`, which is sent before the loop runs again.

        Raises: BrokerAway when none came in time or the connection ended.
        """
        if self._reason is not None:
            raise self._reason.with_traceback(None)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[packet_id] = future
        seen = self._seen()
        try:
            while not (await asyncio.wait({future}, timeout=WITHIN_S))[0]:
                before, seen = seen, self._seen()
                if not self._paused() and seen - before < MOVING_BYTES:
                    raise BrokerAway(f"no {what} in {WITHIN_S:g} s")
            return future.result()
        finally:
            self._waiting.pop(packet_id, None)

    def settle(self, packet_id: int, answer: T) -> None:
        """Hand the answer to whoever waits; one that nobody waits for is passed over."""
        future = self._waiting.get(packet_id)
        if future is not None and not future.done():
            future.set_result(answer)

    def end(self, reason: BrokerAway) -> None:
        """Tell everybody who waits, or will, that no answer comes."""
        self._reason = self._reason or reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(reason)
                future.exception()
