"""The client of the webhook bench, a process of its own: HTTP/1.1 by hand over keep-alive connections."""

import asyncio
import sys
import time

HEAD = (
    b"POST %s HTTP/1.1\r\nhost: bench\r\nx-api-key: %s\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n"
)


def event(n: int, devices: int, stamp: int) -> bytes:
    """Return event n; 1 ms after the one before."""
    return b'{"device_id":"d%d","battery":%d,"rssi":%d,"ts":%d}' % (
        n % devices, n % 100, -(n // 100 % 120) - 1, stamp + n * 1_000,
    )  # fmt: skip


class Load:
    """Numbers the events over all connections."""

    def __init__(self, path: str, secret: str, each: int, devices: int, seconds: float) -> None:
        self.path, self.secret = path.encode(), secret.encode()
        self.each, self.devices = each, devices
        self.stamp = time.time_ns() // 1_000 - 3_600_000_000
        self.end = time.monotonic() + seconds
        self.sent = 0
        self.taken: list[float] = []

    def request(self) -> bytes:
        """Return the next request: one event, or an array of `each`."""
        first, self.sent = self.sent, self.sent + self.each
        events = [event(n, self.devices, self.stamp) for n in range(first, self.sent)]
        body = events[0] if self.each == 1 else b"[%s]" % b",".join(events)
        return HEAD % (self.path, self.secret, len(body)) + body


class Sender(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._got = b""
        self._began = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Once an answer is whole, send the next request."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._got[:300].decode()))
            self._transport.close()
            return
        self._load.taken.append(time.perf_counter() - self._began)
        self._got = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so, when it was not meant."""
        if not self.ended.done():
            self.ended.set_exception(exc or RuntimeError("the connection was closed"))

    def _next(self) -> None:
        if time.monotonic() >= self._load.end:
            if not self.ended.done():
                self.ended.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(self._load.request())


async def run(port: int, connections: int, load: Load) -> None:
    """Send until the time is over; print events, seconds, p50 and p99 of a request in ms."""
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    senders = [
        (await loop.create_connection(lambda: Sender(load), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    await asyncio.gather(*(sender.ended for sender in senders))
    seconds = time.monotonic() - began
    taken = sorted(load.taken)
    p50, p99 = (taken[int(len(taken) * part)] * 1_000 for part in (0.5, 0.99))
    print(len(taken) * load.each, seconds, p50, p99)


if __name__ == "__main__":
    port, path, secret, connections, each, devices, seconds = sys.argv[1:]
    load = Load(path, secret, int(each), int(devices), float(seconds))
    asyncio.run(run(int(port), int(connections), load))
