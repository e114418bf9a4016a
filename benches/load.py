"""The load: which messages there are, a session that waits for them, a publisher. The codec is mqtt5, on one socket."""

import socket
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice

import mqtt5
import orjson

from benches.contenders.place import HOST, SESSION_EXPIRY_S

WINDOW = 2_000
LAST = (100, -150)
"""Battery and signal of the last message, and of no other one."""


STEADY = (50, -50)
"""What each device says when it is introduced."""


def values(n: int, messages: int, steady: bool = False) -> tuple[int, int]:
    """Return battery and signal of message n: what its device said when it was introduced, or something new."""
    if n == messages - 1:
        return LAST
    return STEADY if steady else (n % 100, -1 - n // 100 % 119)


def device(n: int, devices: int, stride: int = 1) -> str:
    """Return whom message n is of: each device in turn, `stride` apart, which shares no factor with `devices`."""
    return f"d{n * stride % devices}"


def backlog(
    messages: int, devices: int, stride: int = 1, steady: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield topic and payload of each message; each was measured 1 ms after the one before."""
    start = time.time_ns() // 1_000 - messages * 1_000
    for n in range(messages):
        battery, rssi = values(n, messages, steady)
        body = orjson.dumps({"battery": battery, "rssi": rssi, "ts": start + n * 1_000})
        yield f"devices/{device(n, devices, stride)}/telemetry", body


def expected(
    messages: int, devices: int, stride: int = 1, steady: bool = False
) -> dict[str, tuple[int, int]]:
    """Return what each device's row must say in the end."""
    first = max(0, messages - devices)
    return {device(n, devices, stride): values(n, messages, steady) for n in range(first, messages)}


class Client:
    """A blocking MQTT 5 client."""

    def __init__(self, port: int, client_id: str, *, keep: bool = False) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        expiry = SESSION_EXPIRY_S if keep else 0
        connect = mqtt5.ConnectPacket(client_id, clean_start=not keep, session_expiry_interval=expiry)
        self._socket.sendall(connect.write())
        self._answers(1)

    def subscribe(self, filters: Iterable[str]) -> None:
        """SUBSCRIBE with QoS 1."""
        wanted = [mqtt5.TopicFilter(one, max_qos=mqtt5.QoS.AT_LEAST_ONCE) for one in filters]
        self._socket.sendall(mqtt5.SubscribePacket(1, wanted).write())
        self._answers(1)

    def publish(self, messages: Iterable[tuple[str, bytes]]) -> int:
        """Publish with QoS 1, wait for every PUBACK, return how many."""
        messages, sent = iter(messages), 0
        while part := list(islice(messages, WINDOW)):
            qos = mqtt5.QoS.AT_LEAST_ONCE
            packets = [
                mqtt5.PublishPacket(topic, body, qos=qos, packet_id=at + 1).write()
                for at, (topic, body) in enumerate(part)
            ]
            self._socket.sendall(b"".join(packets))
            self._answers(len(part))
            sent += len(part)
        return sent

    def waiting(self, quiet_s: float = 1.0) -> set[str]:
        """Return the topics of what the session holds, and acknowledge none of it. It ends when nothing comes."""
        self._socket.settimeout(quiet_s)
        topics: set[str] = set()
        while True:
            try:
                packet, size = mqtt5.read(self._rest)
            except IndexError:
                try:
                    self._receive()
                except TimeoutError:
                    return topics
                continue
            self._rest = self._rest[size:]
            if isinstance(packet, mqtt5.PublishPacket):
                topics.add(packet.topic)

    def close(self) -> None:
        """DISCONNECT; a kept session stays."""
        self._socket.sendall(mqtt5.DisconnectPacket().write())
        self._socket.close()

    def _answers(self, count: int) -> None:
        while count:
            try:
                packet, size = mqtt5.read(self._rest)
            except IndexError:
                self._receive()
                continue
            self._rest = self._rest[size:]
            if int(getattr(packet, "reason_code", 0)) >= 0x80:
                raise ConnectionError(f"refused: {packet}")
            count -= 1

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._rest += data


def paced(port: int, rate: int, devices: int, seconds: float, prefix: str = "d") -> None:
    """Publish `rate` messages a second, in portions of 5 ms."""
    client = Client(port, f"bench-paced-{prefix}-{rate}")
    start, sent = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        due = int(now * rate) - sent
        stamp = time.time_ns() // 1_000
        part = [
            (
                f"devices/{prefix}{n % devices}/telemetry",
                b'{"battery":%d,"rssi":-60,"ts":%d}' % (n % 100, stamp),
            )
            for n in range(sent, sent + due)
        ]
        sent += client.publish(part)
        time.sleep(0.005)
    client.close()
    print(sent)


def at_once(port: int, count: int, devices: int, prefix: str) -> None:
    """Publish `count` messages as fast as the broker takes them."""
    client = Client(port, "bench-at-once")
    body = b'{"battery":%d,"rssi":-60}'
    client.publish((f"devices/{prefix}{n % devices}/telemetry", body % (n % 100)) for n in range(count))
    client.close()


if __name__ == "__main__":
    port, amount, devices, seconds, prefix = (*sys.argv[1:], "d")[:5]
    if float(seconds):
        paced(int(port), int(amount), int(devices), float(seconds), prefix)
    else:
        at_once(int(port), int(amount), int(devices), prefix)
