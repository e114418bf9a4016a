"""MQTT 5: the codec of `mqtt5` under an asyncio.Protocol. QoS 0, 1 and 2; the default adapter."""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import mqtt5

from handlers.events import Publish
from ingest.errors import BrokerAway, BrokerRefused, ProtocolBroken, SessionTakenOver
from ingest.mqtt.answers import Answers
from ingest.mqtt.filters import subscribe_soundly, unsubscribe_soundly
from ingest.mqtt.framing import Framing
from ingest.mqtt.inbox import Inbox
from ingest.mqtt.outbox import DISCONNECT, DISCONNECT_MALFORMED, acknowledgements, completions
from ingest.mqtt.port import Broker, Clock, Connected, Granted, Inbound, Released, Subscription
from ingest.mqtt.reasons import (
    FAILURE,
    NO_MATCHING_SUBSCRIBERS,
    SESSION_TAKEN_OVER,
    Greeting,
    in_words,
    old_connack,
    without,
)
from ingest.mqtt.wire import Wire


class Answer(NamedTuple):
    """The reason codes of a SUBACK (one per filter) or a PUBACK (one), and the broker's words."""

    codes: tuple[int, ...]
    said: str | None


class Mqtt5Connection:
    """One MQTT 5 connection; see the port for the contract."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._inbox = Inbox(lambda held: self._wire.hold(held))
        self._framing = Framing(clock, broker.max_payload, self._control)
        self._wire = Wire(self._received, self._lost)
        self._answers = Answers[Answer](lambda: self._wire.paused, lambda: self._inbox.seen)
        self._packet_ids = cycle(range(1, 65_536))
        self._connack: asyncio.Future[mqtt5.ConnAckPacket] = asyncio.get_running_loop().create_future()
        self._greeting: Greeting | None = Greeting()
        self._window = asyncio.Semaphore(0)

    async def connect(self) -> Connected:
        """Open the connection and wait for CONNACK.

        Raises: BrokerRefused; NoConnack; BrokerAway; ProtocolBroken.
        """
        packet = self._connect_packet()
        connack = await self._wire.greet(self._broker, lambda: self._wire.write(packet), self._connack)
        code = int(connack.reason_code)
        if code >= FAILURE:
            words = without(self._broker.password, in_words(code, connack.reason_str))
            refused = BrokerRefused(code, words)
            self._wire.end(refused)
            raise refused
        self._window = asyncio.Semaphore(connack.receive_max)
        keep_alive_s = connack.server_keep_alive
        self._wire.start_keep_alive(self._broker.keep_alive_s if keep_alive_s is None else keep_alive_s)
        return Connected(connack.session_present, "5", connack.shared_subscription_available)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """Subscribe, eight filters a packet; one answer per filter.

        Raises: BrokerAway when the broker does not answer in time (paused, it cannot be heard).
        """
        return await subscribe_soundly(subscriptions, self._subscribe)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe, eight filters a packet. Raises: BrokerAway when the broker does not answer in time."""
        await unsubscribe_soundly(filters, self._unsubscribe)

    async def receive(self) -> list[Inbound]:
        """Return what came, at least one. Raises: BrokerAway after the last."""
        return await self._inbox.take()

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """PUBACK or PUBREC, in one write."""
        self._wire.write(acknowledgements(publishes))

    def complete(self, released: Sequence[Released]) -> None:
        """PUBCOMP, in one write."""
        self._wire.write(completions(released))

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish at QoS 1 and wait for the PUBACK, within the broker's receive maximum; False: it reaches nobody.

        Raises: BrokerRefused when the answer is a reason >= 0x80; BrokerAway.
        """
        async with self._window:
            packet_id = self._free_packet_id()
            packet = mqtt5.PublishPacket(
                topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=retain, packet_id=packet_id
            )
            answer = await self._ask(packet_id, packet.write(), "PUBACK")
        code = answer.codes[0]
        if code >= FAILURE:
            raise BrokerRefused(code, in_words(code, answer.said), "the publish")
        return code != NO_MATCHING_SUBSCRIBERS

    def pause(self) -> None:
        """Stop reading from the socket; PINGREQs go on."""
        self._wire.pause()

    def resume(self) -> None:
        """Read again."""
        self._wire.resume()

    async def close(self) -> None:
        """DISCONNECT with reason 0, the session stays; bounded by a second or two."""
        await self._wire.close(DISCONNECT)

    async def _subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        packet_id = self._free_packet_id()
        filters = [
            mqtt5.TopicFilter(
                s.topic_filter,
                max_qos=mqtt5.QoS(s.qos),
                retain_as_published=False,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for s in subscriptions
        ]
        answer = await self._ask(packet_id, mqtt5.SubscribePacket(packet_id, filters).write(), "SUBACK")
        if len(answer.codes) != len(subscriptions):
            broken = ProtocolBroken(f"SUBACK with {len(answer.codes)} codes for {len(subscriptions)} filters")
            self._wire.end(broken, DISCONNECT_MALFORMED)
            raise broken
        return [
            Granted(s.topic_filter, code if code < FAILURE else None, in_words(code, answer.said))
            for s, code in zip(subscriptions, answer.codes, strict=True)
        ]

    async def _unsubscribe(self, filters: Sequence[str]) -> None:
        packet_id = self._free_packet_id()
        await self._ask(packet_id, mqtt5.UnsubscribePacket(packet_id, [*filters]).write(), "UNSUBACK")

    async def _ask(self, packet_id: int, packet: bytes, what: str) -> Answer:
        self._wire.write(packet)
        return await self._answers.wait(packet_id, what)

    def _free_packet_id(self) -> int:
        return next(one for one in self._packet_ids if one not in self._answers)

    def _received(self, data: bytes) -> None:
        if self._greeting is not None:
            data = self._greeting.feed(data)
            if not data:
                return
            self._greeting = None
            refused = old_connack(data)
            if refused is not None:
                self._wire.end(refused)
                return
        inbox = self._inbox
        try:
            self._framing.feed(data, inbox.items)
        except ProtocolBroken as broken:
            self._wire.end(broken, DISCONNECT_MALFORMED)
        inbox.wake(len(data))

    def _control(self, packet: mqtt5.Packet) -> None:
        """Take a packet that is neither PUBLISH nor PUBREL."""
        if isinstance(packet, mqtt5.PubAckPacket):
            self._answers.settle(packet.packet_id, Answer((int(packet.reason_code),), packet.reason_str))
        elif isinstance(packet, mqtt5.SubAckPacket | mqtt5.UnsubAckPacket):
            codes = tuple(int(code) for code in packet.reason_codes)
            self._answers.settle(packet.packet_id, Answer(codes, packet.reason_str))
        elif isinstance(packet, mqtt5.ConnAckPacket) and not self._connack.done():
            self._connack.set_result(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self._wire.end(_disconnected(packet))
        elif not isinstance(packet, mqtt5.PingRespPacket):
            raise ProtocolBroken(f"the broker sent an unexpected {type(packet).__name__}, connection closed")

    def _lost(self, error: BrokerAway) -> None:
        self._answers.end(error)
        self._inbox.end(error)

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
        ).write()


def _disconnected(packet: mqtt5.DisconnectPacket) -> BrokerAway:
    code = int(packet.reason_code)
    text = f"the broker disconnected us: {in_words(code, packet.reason_str)} (0x{code:02x})"
    return SessionTakenOver(text, code) if code == SESSION_TAKEN_OVER else BrokerAway(text, code)
