"""MQTT 5 over an asyncio.Protocol; the codec is `mqtt5`. What is promised stands in port.py."""

import asyncio
import struct
from collections.abc import Iterator, Sequence

import mqtt5

from handlers.events import Publish
from ingest.errors import (
    BrokerAway,
    BrokerRefused,
    NoConnack,
    ProtocolBroken,
    SessionTakenOver,
)
from ingest.mqtt.answers import Answers
from ingest.mqtt.filters import in_order, split_faulty
from ingest.mqtt.framing import Framer
from ingest.mqtt.inbox import Inbox
from ingest.mqtt.keepalive import KeepAlive
from ingest.mqtt.port import Broker, Clock, Connected, Granted, Inbound, Released, Subscription
from ingest.mqtt.stream import close_stream, open_stream

_ANSWER = struct.Struct(">HH").pack
_PUBACK, _PUBREC, _PUBCOMP = 0x4002, 0x5002, 0x7002
_OLD_CONNACK = b"\x20\x02\x00\x01"
"""How an MQTT 3.1.1 broker says 'unacceptable protocol version'."""
_CLOSE_TIMEOUT_S = 1.0


class Mqtt5Connection(asyncio.Protocol):
    """One connection; make a new one to reconnect."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._framer = Framer(broker.max_payload, clock)
        self._inbox = Inbox()
        self._transport: asyncio.Transport | None = None
        self._keep_alive: KeepAlive | None = None
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] | None = None
        self._answers = Answers[mqtt5.Packet](self._is_paused)
        self._packet_ids = _packet_ids()
        self._window = asyncio.Semaphore(65_535)
        self._lost = asyncio.Event()

    async def connect(self) -> Connected:
        """Open the connection and wait for CONNACK.

        Raises: BrokerRefused, NoConnack, BrokerAway, ProtocolBroken.
        """
        broker = self._broker
        self._connack = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(broker.connect_timeout_s):
                transport = await open_stream(broker, self)
                transport.write(self._connect_packet())
                connack = await self._connack
        except TimeoutError:
            self._end(
                BrokerAway(f"no answer from {broker.host}:{broker.port} in {broker.connect_timeout_s:g} s")
            )
            assert self._inbox.ended is not None
            raise self._inbox.ended from None
        except BaseException as error:
            self._end(error if isinstance(error, BrokerAway) else BrokerAway("connecting was abandoned"))
            raise
        if int(connack.reason_code) >= 0x80:
            refused = BrokerRefused(int(connack.reason_code), _words(connack.reason_code, connack.reason_str))
            self._end(refused)
            raise refused
        self._window = asyncio.Semaphore(connack.receive_max)
        interval = broker.keep_alive_s if connack.server_keep_alive is None else connack.server_keep_alive
        if self._inbox.ended is None:
            self._keep_alive = KeepAlive(interval, self._ping, self._dead)
        return Connected(connack.session_present, "5")

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """SUBSCRIBE with retain handling 1 and retain-as-published 0; one answer per filter."""
        asked, faulty = split_faulty(subscriptions)
        granted = await self._subscribe(asked) if asked else []
        return in_order(subscriptions, granted, faulty)

    async def _subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        filters = [
            mqtt5.TopicFilter(
                one.topic_filter,
                max_qos=mqtt5.QoS(one.qos),
                retain_as_published=False,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for one in subscriptions
        ]
        packet_id = self._free_packet_id()
        self._write(mqtt5.SubscribePacket(packet_id, filters).write())
        suback = await self._answers.wait(packet_id, "SUBACK")
        if not isinstance(suback, mqtt5.SubAckPacket) or len(suback.reason_codes) != len(filters):
            raise self._break("SUBACK does not fit its SUBSCRIBE")
        return [
            Granted(
                one.topic_filter, None if int(code) >= 0x80 else int(code), _words(code, suback.reason_str)
            )
            for one, code in zip(subscriptions, suback.reason_codes, strict=True)
        ]

    async def receive(self) -> list[Inbound]:
        """Wait for and return what came, at least one.

        Raises: BrokerAway once the connection has ended and everything was handed out.
        """
        return await self._inbox.take()

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """PUBACK or PUBREC these in order; nothing once the connection has ended."""
        pack = _ANSWER
        self._write(
            b"".join(
                [
                    pack(_PUBACK if publish.qos == 1 else _PUBREC, publish.packet_id)
                    for publish in publishes
                    if publish.qos
                ]
            )
        )

    def complete(self, released: Sequence[Released]) -> None:
        """PUBCOMP these."""
        self._write(b"".join([_ANSWER(_PUBCOMP, one.packet_id) for one in released]))

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the PUBACK.

        Raises: BrokerRefused, BrokerAway.
        """
        async with self._window:
            packet_id = self._free_packet_id()
            packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id)
            self._write(packet.write())
            puback = await self._answers.wait(packet_id, "PUBACK")
        if not isinstance(puback, mqtt5.PubAckPacket):
            raise self._break("PUBLISH was not answered with PUBACK")
        if int(puback.reason_code) >= 0x80:
            raise BrokerRefused(
                int(puback.reason_code), _words(puback.reason_code, puback.reason_str), "the publish"
            )

    def pause(self) -> None:
        """Stop reading; go on pinging."""
        if self._inbox.ended is None and self._transport is not None and self._keep_alive is not None:
            self._keep_alive.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._inbox.ended is None and self._transport is not None and self._keep_alive is not None:
            self._keep_alive.resume()
            self._transport.resume_reading()

    async def close(self) -> None:
        """DISCONNECT 0, keeping the session, and wait until the socket is closed; bounded."""
        self._write(mqtt5.DisconnectPacket().write())
        self._end(BrokerAway("closed by us"), linger=True)
        if self._transport is not None:
            await close_stream(self._transport, self._lost, _CLOSE_TIMEOUT_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse, queue and wake the receiver once (asyncio.Protocol)."""
        if self._inbox.ended is not None:
            return
        if self._keep_alive is not None:
            self._keep_alive.received = asyncio.get_running_loop().time()
        for packet in self._framer.feed(data, self._inbox.items):
            self._control(packet)
        if self._framer.broken is not None:
            self._end(self._framer.broken if data[:4] != _OLD_CONNACK else _old_version(), code=0x81)
        elif self._inbox.items:
            self._inbox.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the reason (asyncio.Protocol)."""
        self._lost.set()
        if self._connack is not None and not self._connack.done():
            self._end(NoConnack(f"the broker closed the connection without CONNACK{_because(exc)}"))
        self._end(BrokerAway(f"the connection to the broker was lost{_because(exc)}"))

    def _control(self, packet: mqtt5.Packet) -> None:
        """Deal with what is neither a publish nor a release."""
        if isinstance(packet, mqtt5.PubAckPacket | mqtt5.SubAckPacket):
            self._answers.settle(packet.packet_id, packet)
        elif isinstance(packet, mqtt5.ConnAckPacket):
            if self._connack is not None and not self._connack.done():
                self._connack.set_result(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            words = f"the broker disconnected us: {_words(packet.reason_code, packet.reason_str)}"
            code = int(packet.reason_code)
            self._end((SessionTakenOver if code == 0x8E else BrokerAway)(f"{words} (0x{code:02x})", code))
        elif not isinstance(packet, mqtt5.PingRespPacket):
            self._break(f"unexpected {type(packet).__name__}")

    def _is_paused(self) -> bool:
        return self._keep_alive is not None and self._keep_alive.paused

    def _write(self, data: bytes) -> None:
        if data and self._inbox.ended is None and self._transport is not None:
            self._transport.write(data)
            if self._keep_alive is not None:
                self._keep_alive.sent = asyncio.get_running_loop().time()

    def _end(self, reason: BrokerAway, code: int | None = None, *, linger: bool = False) -> None:
        """End once: the first reason stays. `code` goes to the broker in a DISCONNECT."""
        if self._inbox.ended is not None:
            return
        if code is not None:
            self._write(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code)).write())
        self._inbox.end(reason)
        self._answers.end(reason)
        if self._keep_alive is not None:
            self._keep_alive.stop()
        if self._transport is not None and not linger:
            self._transport.close()
        if self._connack is not None and not self._connack.done():
            self._connack.set_exception(reason)
            self._connack.exception()

    def _break(self, what: str) -> ProtocolBroken:
        broken = ProtocolBroken(f"protocol error, connection closed: {what}")
        self._end(broken, code=0x82)
        return broken

    def _ping(self) -> None:
        self._write(b"\xc0\x00")

    def _dead(self) -> None:
        self._end(BrokerAway("the broker fell silent: nothing came within the keep-alive time"))
        if self._transport is not None:
            self._transport.abort()

    def _free_packet_id(self) -> int:
        return next(one for one in self._packet_ids if one not in self._answers)

    def _connect_packet(self) -> bytes:
        broker = self._broker
        return mqtt5.ConnectPacket(
            broker.client_id,
            username=broker.username,
            password=None if broker.password is None else broker.password.encode(),
            clean_start=broker.clean_start,
            keep_alive=broker.keep_alive_s,
            session_expiry_interval=broker.session_expiry_s,
            receive_max=broker.receive_maximum,
            topic_alias_max=0,
        ).write()


def _packet_ids() -> Iterator[int]:
    while True:
        yield from range(1, 65_536)


def _words(code: int, reason: str | None) -> str:
    """A reason code's name in words, and what the peer added."""
    name = getattr(code, "name", str(code)).replace("_", " ").lower()
    return f"{name}: {reason}" if reason else name


def _because(error: Exception | None) -> str:
    return f": {error}" if error is not None else ""


def _old_version() -> BrokerRefused:
    return BrokerRefused(0x84, "it speaks MQTT 3.1.1 only")
