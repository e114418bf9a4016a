"""MQTT 3.1.1: paho-mqtt as the codec. QoS 0 and 1; for brokers that do not speak MQTT 5.

paho answers a QoS 2 PUBLISH by itself, so nothing is subscribed at more than QoS 1. paho has no thread and no socket
here: it reads from and writes to a `Pipe`, and the network below is the `Wire` of MQTT 5 (TLS, keep-alive, pausing).
paho keeps a whole packet in memory: a payload above max_payload is cut to its head only once all of it has come.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from handlers.events import Publish
from ingest.errors import BrokerAway, ProtocolBroken
from ingest.mqtt.answers import Answers
from ingest.mqtt.filters import subscribe_soundly, unsubscribe_soundly
from ingest.mqtt.inbox import Inbox
from ingest.mqtt.outbox import DISCONNECT, acknowledgements
from ingest.mqtt.paho_client import Paho, Pipe
from ingest.mqtt.port import Broker, Clock, Connected, Granted, Inbound, Released, Subscription
from ingest.mqtt.reasons import FAILURE, Greeting, in_words, old_connack
from ingest.mqtt.skimming import HEAD
from ingest.mqtt.unreadable import salvaged
from ingest.mqtt.wire import Wire

MAX_QOS = 1
MALFORMED = "malformed packet, connection closed"


class Mqtt311Connection:
    """One MQTT 3.1.1 connection; see the port for the contract."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._inbox = Inbox(lambda held: self._wire.hold(held))
        self._wire = Wire(self._received, self._lost)
        self._answers = Answers[list[int]](lambda: self._wire.paused, lambda: self._inbox.seen)
        self._pipe = Pipe(self._wire)
        self._connack: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._greeting: Greeting | None = Greeting()
        self._paho = paho = Paho(broker, self._pipe, self._on_unreadable)
        paho.on_connect = self._on_connect
        paho.on_message = self._on_message
        paho.on_subscribe = self._on_answer
        paho.on_unsubscribe = self._on_answer
        paho.on_publish = self._on_publish

    async def connect(self) -> Connected:
        """Open the connection and wait for CONNACK.

        Raises: BrokerRefused (its code in MQTT 5 numbering); NoConnack; BrokerAway; ProtocolBroken.
        """
        broker = self._broker
        session_present = await self._wire.greet(
            broker, lambda: self._paho.connect(broker.host, broker.port, broker.keep_alive_s), self._connack
        )
        self._wire.start_keep_alive(broker.keep_alive_s)
        return Connected(session_present, "3.1.1")

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """Subscribe at QoS 1 at most, eight filters a packet; one answer per filter.

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
        """PUBACK in one write: past paho, whose `ack` takes one at a time."""
        self._wire.write(acknowledgements(publishes))

    def complete(self, released: Sequence[Released]) -> None:
        """Nothing: QoS 2 is not subscribed, so nothing is ever released here."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish at QoS 1 and wait for the PUBACK, which in MQTT 3.1.1 has no way to say no or that nobody is there.

        Raises: BrokerAway.
        """
        self._refuse_when_ended()
        info = self._paho.publish(topic, payload, qos=1, retain=retain)
        await self._answers.wait(info.mid, "PUBACK")
        return True

    def pause(self) -> None:
        """Stop reading from the socket; PINGREQs go on."""
        self._wire.pause()

    def resume(self) -> None:
        """Read again."""
        self._wire.resume()

    async def close(self) -> None:
        """DISCONNECT; the session stays unless clean_start was asked for; bounded by a second or two."""
        await self._wire.close(DISCONNECT)

    async def _subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        self._refuse_when_ended()
        _, mid = self._paho.subscribe([(s.topic_filter, min(s.qos, MAX_QOS)) for s in subscriptions])
        if mid is None:
            raise BrokerAway("SUBSCRIBE could not be sent")
        codes = await self._answers.wait(mid, "SUBACK")
        if len(codes) != len(subscriptions):
            broken = ProtocolBroken(f"SUBACK with {len(codes)} codes for {len(subscriptions)} filters")
            self._wire.end(broken)
            raise broken
        return [
            Granted(s.topic_filter, code if code < FAILURE else None, in_words(code))
            for s, code in zip(subscriptions, codes, strict=True)
        ]

    async def _unsubscribe(self, filters: Sequence[str]) -> None:
        self._refuse_when_ended()
        _, mid = self._paho.unsubscribe([*filters])
        if mid is None:
            raise BrokerAway("UNSUBSCRIBE could not be sent")
        await self._answers.wait(mid, "UNSUBACK")

    def _refuse_when_ended(self) -> None:
        if self._inbox.ended is not None:
            raise self._inbox.ended.with_traceback(None)

    def _received(self, data: bytes) -> None:
        if self._greeting is not None:
            data = self._greeting.feed(data)
            if not data:
                return
            self._greeting = None
            refused = old_connack(data, success_is_refusal=False)
            if refused is not None:
                self._wire.end(refused)
                return
        self._pipe.feed(data)
        try:
            self._read_all()
        except ProtocolBroken as broken:
            self._wire.end(broken)
        except Exception as error:
            self._wire.end(ProtocolBroken(f"{MALFORMED}: {error}"))
        self._inbox.wake(len(data))

    def _read_all(self) -> None:
        """Let paho read until it makes no more progress: it takes one packet at a time."""
        pipe, loop_read = self._pipe, self._paho.loop_read
        before = -1
        while (waiting := pipe.waiting) and waiting != before:
            before = waiting
            if (code := loop_read()) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise ProtocolBroken(f"{MALFORMED}: {code.name}")

    def _on_connect(
        self,
        _client: Client,
        _data: Any,
        flags: ConnectFlags,
        _code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._connack.done():
            self._connack.set_result(flags.session_present)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        topic, payload = message.topic, bytes(message.payload)
        if message.qos and not message.mid:
            raise ProtocolBroken(f"{MALFORMED}: a packet id that is not allowed")
        size = len(payload)
        if size > self._broker.max_payload:
            payload = payload[: min(HEAD, self._broker.max_payload)]
        publish = Publish(
            topic, payload, message.qos, message.retain, message.dup, message.mid, self._clock(), size
        )
        self._inbox.items.append(publish)

    def _on_unreadable(self, first: int, body: bytes) -> None:
        publish = salvaged(first, body, self._clock(), self._broker.max_payload, properties=False)
        if publish is None:
            raise ProtocolBroken(
                f"{MALFORMED}: fields longer than the packet, or a packet id that is not allowed"
            )
        self._inbox.items.append(publish)

    def _on_answer(
        self, _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._answers.settle(mid, [code.value for code in codes])

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answers.settle(mid, [0])

    def _lost(self, error: BrokerAway) -> None:
        self._answers.end(error)
        self._inbox.end(error)
