"""Many waits with a deadline each, and one timer: `asyncio.timeout` has one a wait, which cost 5 us a request."""

import asyncio


class Deadlines:
    """Ends each wait that is not over when it is due. How many wait at once is bounded by who lets them in."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: asyncio.Future[None], due: float) -> None:
        """Wait for a future of this one waiter's own, at most until `due` on the loop's clock. Raises: TimeoutError."""
        self._due[future] = due
        if self._timer is None or due < self._timer.when():
            self._look_at(due)
        try:
            await future
        finally:
            del self._due[future]

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        """End what is due; where others wait, look again when the next of them is."""
        self._timer, now = None, asyncio.get_running_loop().time()
        waiting = {future: due for future, due in self._due.items() if not future.done()}
        for future, due in waiting.items():
            if due <= now:
                future.set_exception(TimeoutError())
        later = [due for due in waiting.values() if due > now]
        if later:
            self._look_at(min(later))
