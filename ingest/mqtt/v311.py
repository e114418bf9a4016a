"""MQTT 3.1.1 with paho-mqtt on the asyncio loop. What is promised stands in port.py; QoS 1 at most.

paho answers a QoS 2 PUBLISH by itself, so none is subscribed to. It also holds a whole packet in memory before it hands
it on: an oversized payload is cut to its head here, but not skimmed.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from handlers.events import Publish
from ingest.errors import BrokerAway, BrokerRefused, NoConnack, ProtocolBroken
from ingest.mqtt.answers import Answers
from ingest.mqtt.filters import in_order, split_faulty
from ingest.mqtt.framing import HEAD
from ingest.mqtt.inbox import Inbox
from ingest.mqtt.keepalive import KeepAlive
from ingest.mqtt.paho_client import build_client, dial
from ingest.mqtt.port import Broker, Clock, Connected, Granted, Inbound, Released, Subscription
from ingest.mqtt.stream import set_options

_AT_ONCE = 2000
"""Packets read before the loop gets its turn."""
_CLOSE_TIMEOUT_S = 1.0
_DISCONNECT = b"\xe0\x00"


class Mqtt311Connection:
    """One connection; make a new one to reconnect."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._inbox = Inbox()
        self._answers = Answers[list[ReasonCode]](self._is_paused)
        self._keep_alive: KeepAlive | None = None
        self._connack: asyncio.Future[bool] | None = None
        self._sock: socket.socket | None = None
        self._lost = asyncio.Event()
        self._flushed = asyncio.Event()
        self._received = 0
        self._client = build_client(broker)

    async def connect(self) -> Connected:
        """Open the connection and wait for CONNACK.

        Raises: BrokerRefused, NoConnack, BrokerAway, ProtocolBroken.
        """
        broker = self._broker
        self._connack = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(broker.connect_timeout_s):
                # paho resolves, connects and shakes hands in blocking calls: a thread, for this alone.
                self._attach(await asyncio.to_thread(self._dial))
                session_present = await self._connack
        except TimeoutError:
            self._end(
                BrokerAway(f"no answer from {broker.host}:{broker.port} in {broker.connect_timeout_s:g} s")
            )
            assert self._inbox.ended is not None
            raise self._inbox.ended from None
        except BaseException as error:
            self._end(error if isinstance(error, BrokerAway) else BrokerAway("connecting was abandoned"))
            raise
        if self._inbox.ended is None:
            self._keep_alive = KeepAlive(broker.keep_alive_s, self._ping, self._dead)
        return Connected(session_present, "3.1.1")

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """SUBSCRIBE with QoS 1 at most; one answer per filter."""
        asked, faulty = split_faulty(subscriptions)
        granted = await self._subscribe(asked) if asked else []
        return in_order(subscriptions, granted, faulty)

    async def _subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        if self._inbox.ended is not None:
            raise self._inbox.ended.with_traceback(None)
        _, packet_id = self._client.subscribe([(one.topic_filter, min(one.qos, 1)) for one in subscriptions])
        assert packet_id is not None
        codes = await self._answers.wait(packet_id, "SUBACK")
        if len(codes) != len(subscriptions):
            broken = ProtocolBroken("protocol error, connection closed: SUBACK does not fit its SUBSCRIBE")
            self._end(broken)
            raise broken
        return [
            Granted(one.topic_filter, None if code.is_failure else code.value, str(code).lower())
            for one, code in zip(subscriptions, codes, strict=True)
        ]

    async def receive(self) -> list[Inbound]:
        """Wait for and return what came, at least one.

        Raises: BrokerAway once the connection has ended and everything was handed out.
        """
        return await self._inbox.take()

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """PUBACK these in order; nothing once the connection has ended."""
        if self._inbox.ended is None:
            for publish in publishes:
                if publish.qos == 1:
                    self._client.ack(publish.packet_id, 1)
            self._sent()

    def complete(self, released: Sequence[Released]) -> None:
        """Do nothing: there is no QoS 2 here."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the PUBACK (which in 3.1.1 cannot say no).

        Raises: BrokerAway.
        """
        if self._inbox.ended is not None:
            raise self._inbox.ended.with_traceback(None)
        packet_id = self._client.publish(topic, payload, qos=1).mid
        self._sent()
        await self._answers.wait(packet_id, "PUBACK")

    def pause(self) -> None:
        """Stop reading; go on pinging."""
        if self._inbox.ended is None and self._sock is not None and self._keep_alive is not None:
            self._keep_alive.paused = True
            asyncio.get_running_loop().remove_reader(self._sock)

    def resume(self) -> None:
        """Read again."""
        if self._inbox.ended is None and self._sock is not None and self._keep_alive is not None:
            self._keep_alive.resume()
            loop = asyncio.get_running_loop()
            loop.add_reader(self._sock, self._read)
            loop.call_soon(self._read)

    async def close(self) -> None:
        """DISCONNECT, keeping the session, and wait until the broker has closed the socket; bounded."""
        ended = self._inbox.ended is not None
        self._end(BrokerAway("closed by us"), linger=True)
        if self._sock is None or ended:
            self._hang_up()
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._read)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                self._flushed.clear()
                if self._client.want_write():
                    await self._flushed.wait()
                if self._sock is not None:
                    # paho's own disconnect() closes at once: what the broker has not read yet could be overtaken.
                    with contextlib.suppress(OSError):
                        self._sock.send(_DISCONNECT)
                await self._lost.wait()
        self._hang_up()

    def _dial(self) -> socket.socket:
        """Connect, in a thread; nobody may be waiting for it any more."""
        sock = dial(self._client, self._broker)
        if self._inbox.ended is not None:
            sock.close()
        return sock

    def _attach(self, sock: socket.socket) -> None:
        """Hand the connected socket to the loop."""
        self._sock = sock
        set_options(sock, self._broker.keep_alive_s)
        loop, client = asyncio.get_running_loop(), self._client
        client.on_connect = self._on_connack
        client.on_message = self._on_message
        client.on_subscribe = lambda _client, _data, packet_id, codes, _: self._answers.settle(
            packet_id, codes
        )
        client.on_publish = lambda _client, _data, packet_id, code, _: self._answers.settle(packet_id, [code])
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = lambda *_: loop.add_writer(sock, self._write)
        client.on_socket_unregister_write = lambda *_: self._on_flushed(sock)
        loop.add_reader(sock, self._read)
        if client.want_write():
            loop.add_writer(sock, self._write)

    def _read(self) -> None:
        """Read what is there, at most 2,000 packets, and wake the receiver once."""
        if self._sock is None or self._is_paused():
            return
        client, first = self._client, self._received
        if self._keep_alive is not None:
            self._keep_alive.received = asyncio.get_running_loop().time()
        try:
            while True:
                before = self._received
                code = client.loop_read()
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self._sock is None:
                    self._end(self._reason(code))
                    return
                if self._received - first >= _AT_ONCE:
                    asyncio.get_running_loop().call_soon(self._read)
                    break
                if self._received == before and not self._decrypted():
                    break
        except (
            Exception
        ) as error:  # what paho raises on malformed packets: struct, Unicode, Value and Index errors
            self._end(ProtocolBroken(f"malformed packet, connection closed: {error}"))
        if self._inbox.items:
            self._inbox.wake()

    def _decrypted(self) -> bool:
        """Whether TLS holds bytes that the selector does not see."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _write(self) -> None:
        if self._sock is not None:
            code = self._client.loop_write()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._end(self._reason(code))

    def _reason(self, code: MQTTErrorCode) -> BrokerAway:
        if code == MQTTErrorCode.MQTT_ERR_PROTOCOL:
            return ProtocolBroken("malformed packet, connection closed: it breaks the protocol")
        if self._connack is not None and not self._connack.done():
            return NoConnack("the broker closed the connection without CONNACK")
        return BrokerAway("the connection to the broker was lost")

    def _on_connack(self, _client: Any, _data: Any, flags: Any, code: ReasonCode, _properties: Any) -> None:
        if self._connack is None or self._connack.done():
            return
        if code.is_failure:
            self._connack.set_exception(BrokerRefused(code.value, str(code).lower()))
        else:
            self._connack.set_result(bool(flags.session_present))

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._received += 1
        if self._inbox.ended is not None:
            return
        topic, payload, qos, packet_id = message.topic, message.payload, message.qos, message.mid
        if not topic or "\0" in topic or (qos and not packet_id):
            raise ValueError("topic is empty or contains NUL, or packet id 0")
        size = len(payload)
        if size > self._broker.max_payload:
            payload = payload[:HEAD]
        now = self._clock()
        self._inbox.items.append(
            Publish(topic, bytes(payload), qos, message.retain, message.dup, packet_id, now, size)
        )

    def _on_flushed(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_writer(sock)
        self._flushed.set()

    def _on_socket_close(self, _client: Any, _data: Any, sock: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.remove_writer(sock)
        self._sock = None
        self._lost.set()

    def _is_paused(self) -> bool:
        return self._keep_alive is not None and self._keep_alive.paused and self._inbox.ended is None

    def _sent(self) -> None:
        if self._keep_alive is not None:
            self._keep_alive.sent = asyncio.get_running_loop().time()

    def _ping(self) -> None:
        # paho sends PINGREQ only from loop_misc(), whose keep-alive notices a dead peer after two intervals.
        self._client._send_pingreq()

    def _dead(self) -> None:
        self._end(BrokerAway("the broker fell silent: nothing came within the keep-alive time"))

    def _end(self, reason: BrokerAway, *, linger: bool = False) -> None:
        """End once: the first reason stays."""
        if self._inbox.ended is None:
            self._inbox.end(reason)
            self._answers.end(reason)
            if self._keep_alive is not None:
                self._keep_alive.stop()
            if self._connack is not None and not self._connack.done():
                self._connack.set_exception(reason)
                self._connack.exception()
        if not linger:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close the socket now."""
        sock = self._sock
        if sock is not None:
            self._on_socket_close(None, None, sock)
            client = self._client
            client.on_socket_close = client.on_socket_register_write = client.on_socket_unregister_write = (
                None
            )
            sock.close()
