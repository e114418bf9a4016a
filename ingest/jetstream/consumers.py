"""The durable consumers: one a subject, on the stream in which the server keeps MQTT's QoS 1 publishes.

All replicas share them. The server answers a device's PUBLISH once it is in this stream, and keeps it for as long as a
consumer has not acknowledged it.
"""

import contextlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

import orjson
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from handlers.events import Micros
from ingest.errors import BrokerAway
from ingest.integrations.cluster import Cluster
from ingest.jetstream.client import translated
from ingest.mqtt.port import Broker, Clock

STREAM = "$MQTT_msgs"
PREFIX = "$MQTT.msgs."
STREAM_NOT_FOUND = 10059
"""JetStream's error code."""
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Durable(NamedTuple):
    """One consumer: its name and the subject, without the stream's prefix."""

    name: str
    subject: str


def durables(client_id: str, subjects: Sequence[str]) -> list[Durable]:
    """Name the consumers. Another subject has another name: a consumer is never turned into another."""
    return [
        Durable(
            f"{_readable(client_id)}-{blake2b(f'{client_id} {one}'.encode(), digest_size=4).hexdigest()}", one
        )
        for one in dict.fromkeys(subjects)
    ]


def _readable(client_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", client_id)


class Consumers:
    """The consumers of one session, looked at and made through one connection. Methods raise BrokerAway."""

    def __init__(self, client: Client, broker: Broker, cluster: Cluster, clock: Clock) -> None:
        self._client = client
        self._manager = client.jsm(timeout=broker.connect_timeout_s)
        self._broker = broker
        self._cluster = cluster
        self._clock = clock

    async def exist(self, wanted: Sequence[Durable]) -> bool:
        """Say whether all of them are there: whether nothing was missed since they were made."""
        try:
            for durable in wanted:
                await self._look(durable)
        except NotFoundError as missing:
            if missing.err_code == STREAM_NOT_FOUND:
                told = "no MQTT client has connected to this NATS account yet, so there is nothing to read"
                raise BrokerAway(told) from missing
            return False
        return True

    async def make(self, durable: Durable) -> None:
        """Make a consumer, or see that it is as it should be.

        Raises: BrokerAway, which says so where one of this name is something else.
        """
        try:
            with translated():
                await self._manager.add_consumer(STREAM, self._config(durable))
        except BrokerAway as away:
            if not isinstance(away.__cause__, APIError):
                raise
            told = f"the consumer {durable.name} of {STREAM} cannot be made or is not as it should be"
            described = away.__cause__.description
            raise BrokerAway(f"{told}: {described}; one that is somebody else's must be removed") from away

    def _config(self, durable: Durable) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=durable.name,
            filter_subject=PREFIX + durable.subject,
            deliver_policy=DeliverPolicy.NEW,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._cluster.ack_wait_s,
            max_ack_pending=self._broker.receive_maximum,
            inactive_threshold=self._broker.session_expiry_s or None,
        )

    async def heard_until(self, wanted: Sequence[Durable]) -> Micros:
        """Return until when everything that came has been acknowledged, over all replicas.

        Raises: NotFoundError (the library's) where a consumer is gone, BrokerAway.
        """
        return min([await self._heard_until(durable) for durable in wanted])

    async def _heard_until(self, durable: Durable) -> Micros:
        asked_at = self._clock()
        info = await self._look(durable)
        if not info.num_pending and not info.num_ack_pending:
            return asked_at
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        try:
            with translated():
                first = await self._manager.get_msg(
                    STREAM, seq=floor + 1, subject=PREFIX + durable.subject, next=True
                )
        except NotFoundError:  # acknowledged meanwhile
            return asked_at
        assert first.time is not None
        return (first.time - _EPOCH) // timedelta(microseconds=1) - 1

    async def former(self, wanted: Sequence[Durable]) -> list[Durable]:
        """Return those of this client id that are none of `wanted`."""
        ours = re.compile(re.escape(_readable(self._broker.client_id)) + "-[0-9a-f]{8}")
        names = {one.name for one in wanted}
        found = [one for one in await self._names() if ours.fullmatch(one) and one not in names]
        former = []
        for name in found:
            with contextlib.suppress(NotFoundError):
                config = (await self._look(Durable(name, ""))).config
                former.append(Durable(name, (config.filter_subject or "").removeprefix(PREFIX)))
        return former

    async def _names(self) -> list[str]:
        """List the names of the stream's consumers, those of devices among them."""
        names: list[str] = []
        while True:
            body = orjson.dumps({"offset": len(names)})
            with translated():
                answer = await self._client.request(
                    f"$JS.API.CONSUMER.NAMES.{STREAM}", body, timeout=self._broker.connect_timeout_s
                )
            page = orjson.loads(answer.data)
            names += page.get("consumers") or []
            if len(names) >= page.get("total", 0) or not page.get("consumers"):
                return names

    async def last_sequence(self) -> int:
        """Return the number of the stream's last message."""
        with translated():
            return int((await self._manager.stream_info(STREAM)).state.last_seq)

    async def is_read_to(self, durable: Durable, sequence: int) -> bool:
        """Say whether all that came until then is acknowledged. Raises: NotFoundError, BrokerAway."""
        info = await self._look(durable)
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        return floor >= sequence or not (info.num_pending or info.num_ack_pending)

    async def remove(self, durable: Durable) -> None:
        """Remove a consumer. Raises: NotFoundError, BrokerAway."""
        with translated():
            await self._manager.delete_consumer(STREAM, durable.name)

    async def _look(self, durable: Durable) -> ConsumerInfo:
        with translated():
            info: ConsumerInfo = await self._manager.consumer_info(STREAM, durable.name)
        return info
