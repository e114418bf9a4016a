"""One consumer's messages, pulled a bounded request at a time: no request, no message."""

import asyncio
import contextlib
from collections.abc import Callable

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from ingest.jetstream.consumers import STREAM

BATCH = 2_000
BATCH_BYTES = 8 << 20
"""Of one request; or one message, where the server allows larger ones."""
EXPIRES_S = 3.0
"""How long a request waits at the server. One that a dying server took with it costs this and GRACE_S."""
GRACE_S = 1.0
PAUSE_S = 0.5
_EXPIRED = "408"


class Pull:
    """Asks for a consumer's messages while `flowing` is set, and gives each to `take`."""

    def __init__(
        self, client: Client, durable: str, flowing: asyncio.Event, take: Callable[[Msg], None]
    ) -> None:
        self._client = client
        self._flowing = flowing
        self._take = take
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{durable}"
        self._left = 0
        self._ended = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while no request of ours waits at the server."""
        self.idle.set()
        self._status: str | None = None
        self._request = orjson.dumps(
            {
                "batch": BATCH,
                "max_bytes": max(BATCH_BYTES, 2 * client.max_payload),
                "expires": int(EXPIRES_S * 1e9),
            }
        )

    async def run(self) -> None:
        """Ask again and again until cancelled or until the connection ends."""
        inbox = self._client.new_inbox()
        await self._client.subscribe(inbox, cb=self._came)
        while True:
            await self._flowing.wait()
            self.idle.clear()
            self._left, self._status = BATCH, None
            self._ended.clear()
            await self._client.publish(self._subject, self._request, reply=inbox)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXPIRES_S + GRACE_S):  # wait_for may swallow a cancellation
                    await self._ended.wait()
                self.idle.set()
            if self._refused():
                await asyncio.sleep(PAUSE_S)  # no leader now, or too many requests: it passes

    def _refused(self) -> bool:
        return self._status not in (None, _EXPIRED)

    async def _came(self, message: Msg) -> None:
        if not message.reply:
            self._status = (message.headers or {}).get("Status")
            self._ended.set()
            return
        self._take(message)
        self._left -= 1
        if self._left <= 0:
            self._ended.set()
