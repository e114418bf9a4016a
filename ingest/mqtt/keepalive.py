"""Keep-alive: ping when idle, and notice a dead peer within one and a half intervals.

Source: MQTT 5, 3.1.2.10.
"""

import asyncio
from collections.abc import Callable


class KeepAlive:
    """Four looks an interval. `ping` sends a PINGREQ, `dead` ends the connection.

    The owner notes `received` (and `sent`) as loop times, and sets `paused` while it does not read: a PINGRESP cannot
    be seen then, so its absence means nothing, but the broker must go on hearing from us.
    """

    __slots__ = (
        "_dead",
        "_handle",
        "_interval",
        "_looked",
        "_loop",
        "_ping",
        "_pinged",
        "paused",
        "received",
        "sent",
    )

    def __init__(self, interval_s: float, ping: Callable[[], None], dead: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = interval_s
        self._ping = ping
        self._dead = dead
        self.received = self.sent = self._looked = self._pinged = self._loop.time()
        self.paused = False
        self._handle: asyncio.TimerHandle | None = None
        if interval_s:
            self._handle = self._loop.call_later(interval_s / 4, self._look)

    def stop(self) -> None:
        """No more pings."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def resume(self) -> None:
        """Reading again: silence counts from now on."""
        self.paused = False
        self.received = self._loop.time()

    def _look(self) -> None:
        now, interval = self._loop.time(), self._interval
        if now - self._looked > interval / 2:
            # It was us who stood still (a stopped process, a blocked loop): what the peer sent has not been read yet.
            self.received = now
        self._looked = now
        if not self.paused and now - self.received >= interval * 1.25:
            self._dead()
            return
        quiet = now - min(self.sent, self.received)
        if quiet >= interval / 2 and now - self._pinged >= interval / 2:
            self._pinged = self.sent = now
            self._ping()
        self._handle = self._loop.call_later(interval / 4, self._look)
