"""Blocking calls that nothing can cancel (name look-ups, files): threads of their own, and a time limit."""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
SHARE_FOR_SLOW = 4
"""Of the threads, one in so many is for what was too slow before."""
MAX_SLOW = 10_000


class Blocking:
    """Runs blocking calls, at most `most` at once, and waits `within_s` seconds at most for each.

    The threads are daemons and none of the event loop's executor: a call that never returns keeps neither the database
    waiting nor the process from ending. What was too slow once has few threads until it is in time again, so that it
    does not keep the others waiting a second time.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._within_s = within_s
        self._room = asyncio.Semaphore(most)
        self._room_for_slow = asyncio.Semaphore(max(1, most // SHARE_FOR_SLOW))
        self._slow: OrderedDict[Hashable, None] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """Return what `call` returns. Calls with one `key` share one thread, however many wait for it.

        Raises: TimeoutError, also where no thread is free in time; what `call` raises.
        """
        task = self._under_way.get(key)
        if task is None:
            room = self._room_for_slow if key in self._slow else self._room
            task = self._under_way[key] = asyncio.create_task(
                self._in_thread(call, room), name="blocking call"
            )
            task.add_done_callback(lambda done: self._forget(key, done))
        try:
            async with asyncio.timeout(self._within_s):
                found: T = await asyncio.shield(task)
        except TimeoutError:
            self._slow[key] = None
            if len(self._slow) > MAX_SLOW:
                self._slow.popitem(last=False)
            raise
        self._slow.pop(key, None)
        return found

    async def _in_thread(self, call: Callable[[], T], room: asyncio.Semaphore) -> T:
        async with room:
            ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            threading.Thread(target=_run, args=(call, ended), daemon=True, name="blocking call").start()
            return await ended

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieved: those who waited may have given up


def _run(call: Callable[[], T], ended: asyncio.Future[T]) -> None:
    try:
        found = call()
    except Exception as error:
        failure = error
        _tell(ended, lambda: ended.set_exception(failure))
    else:
        _tell(ended, lambda: ended.set_result(found))


def _tell(ended: asyncio.Future[T], settle: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        ended.get_loop().call_soon_threadsafe(lambda: None if ended.done() else settle())
