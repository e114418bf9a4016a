"""Acknowledgements on their way: told at once, sent soon after, in order."""

import asyncio

from nats.aio.client import Client

PORTION = 500
"""Sent before the event loop runs again."""


class Acks:
    """Sends what `add` was told; `sent` is set while nothing waits."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: list[str] = []
        self._some = asyncio.Event()
        self.sent = asyncio.Event()
        self.sent.set()

    def add(self, replies: list[str]) -> None:
        """Acknowledge the messages that have these reply subjects."""
        self._waiting += replies
        self.sent.clear()
        self._some.set()

    async def run(self) -> None:
        """Send until cancelled or until the connection ends."""
        while True:
            await self._some.wait()
            replies, self._waiting = self._waiting[:PORTION], self._waiting[PORTION:]
            for reply in replies:
                await self._client.publish(reply)
            if not self._waiting:
                self._some.clear()
                self.sent.set()
            await asyncio.sleep(0)
