"""A JetStream source behind the port of the MQTT adapters."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from nats.aio.client import Client
from nats.errors import Error, SlowConsumerError
from nats.js.errors import NotFoundError

from handlers.events import Micros, Publish
from ingest.errors import BrokerAway, BrokerRefused
from ingest.integrations.cluster import Cluster
from ingest.jetstream.acks import Acks
from ingest.jetstream.arrivals import Arrivals
from ingest.jetstream.client import connect, translated
from ingest.jetstream.consumers import Consumers, Durable, durables
from ingest.jetstream.former import Former
from ingest.jetstream.pull import Pull
from ingest.jetstream.subjects import subjects_of
from ingest.mqtt.inbox import BRIM, BRIM_BYTES, Inbox
from ingest.mqtt.port import Broker, Clock, Connected, Granted, Inbound, Released, Subscription

log = logging.getLogger(__name__)

PROTOCOL = "jetstream"
CLOSE_WITHIN_S = 4.0
GIVEN_BACK = b"-NAK"
RETAIN_NOT_SUPPORTED = 0x9A


class JetStreamConnection:
    """One connection to the cluster; see the port for the contract. `filters` are those that will be subscribed to.

    In place of the port's `unsubscribe` it has `give_up_others`: the server knows which consumers there are.
    """

    def __init__(self, broker: Broker, cluster: Cluster, filters: Sequence[str], clock: Clock) -> None:
        self._broker = broker
        self._cluster = cluster
        self._filters = filters
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._inbox = Inbox(self._hold)
        self._arrivals = Arrivals(self._inbox, self._flowing, clock, broker.max_payload, cluster.max_ahead_s)
        self._tasks: list[asyncio.Task[None]] = []
        self._dropping = False
        self._durables: list[Durable] = []
        self._pulls: list[Pull] = []
        self._client = Client()
        self._acks = Acks(self._client)
        self._consumers = Consumers(self._client, broker, cluster, clock)
        self._former = Former(self._consumers, self._pull)

    async def connect(self) -> Connected:
        """Connect; a session is present where all consumers are there.

        Raises: BrokerRefused, BrokerAway.
        """
        await connect(self._client, self._broker, self._cluster, self._closed, self._failed)
        self._run(self._acks.run())
        wanted = durables(self._broker.client_id, [s for one in self._filters for s in _sound(one)])
        return Connected(await self._consumers.exist(wanted), PROTOCOL)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Granted]:
        """Make the consumers and begin to pull; a filter that NATS cannot have is an answer, not an exception."""
        granted: list[Granted] = []
        for subscription in subscriptions:
            try:
                wanted = durables(self._broker.client_id, subjects_of(subscription.topic_filter))
            except ValueError as error:
                granted.append(Granted(subscription.topic_filter, None, str(error)))
                continue
            for durable in wanted:
                await self._begin(durable)
            granted.append(Granted(subscription.topic_filter, 1, "granted QoS 1"))
        return granted

    async def _begin(self, durable: Durable) -> None:
        await self._consumers.make(durable)
        self._durables.append(durable)
        self._run(self._pull(durable))
        if self._cluster.qos_0:
            with translated():
                await self._client.subscribe(
                    durable.subject, queue=durable.name, cb=self._arrivals.passing,
                    pending_msgs_limit=BRIM, pending_bytes_limit=BRIM_BYTES,
                )  # fmt: skip

    async def give_up_others(self) -> None:
        """Read what waits in consumers of filters that are subscribed to no more, and remove them; not waited for."""
        if former := await self._consumers.former(self._durables):
            end = await self._consumers.last_sequence()
            for durable in former:
                self._run(self._former.drain(durable, end))

    async def receive(self) -> list[Inbound]:
        """Return all that came, at least one. Raises: BrokerAway once the connection has ended."""
        return await self._inbox.take()

    def acknowledge(self, publishes: Sequence[Publish]) -> None:
        """Acknowledge these, the oldest unacknowledged ones; QoS 0 is passed over."""
        count = sum([1 for one in publishes if one.qos])
        self._acks.add([self._arrivals.unacknowledged.popleft() for _ in range(count)])

    def complete(self, released: Sequence[Released]) -> None:
        """Do nothing: there is no QoS 2 here."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish to whoever is subscribed now: what NATS itself publishes, MQTT clients get at QoS 0.

        Raises: BrokerRefused for a retained message or a topic that NATS cannot have, BrokerAway.
        """
        if retain:
            told = "through NATS nothing can be retained: publish it over MQTT"
            raise BrokerRefused(RETAIN_NOT_SUPPORTED, told, f"a publish to {topic}")
        try:
            subject = subjects_of(topic)[0]
        except ValueError as error:
            raise BrokerRefused(0x90, str(error), f"a publish to {topic}") from error
        with translated():
            await self._client.publish(subject, payload)
            await self._client.flush(int(self._broker.connect_timeout_s))

    async def heard_until(self) -> Micros:
        """Return until when everything that came is committed, over all replicas. Raises: BrokerAway."""
        try:
            until = await self._consumers.heard_until(self._durables)
            for former in list(self._former.left):
                with contextlib.suppress(NotFoundError):
                    until = min(until, await self._consumers.heard_until([former]))
            return until
        except NotFoundError as missing:
            gone = BrokerAway("a consumer is gone: it was removed, or not read for too long")
            self._inbox.end(gone)
            raise gone from missing

    def pause(self) -> None:
        """Ask for no more."""
        self._flowing.clear()

    def resume(self) -> None:
        """Ask again."""
        self._flowing.set()

    async def close(self) -> None:
        """Send the acknowledgements that wait, give back what is not acknowledged, disconnect; the consumers stay."""
        self.pause()
        with contextlib.suppress(Error, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                if self._client.is_connected:
                    await self._acks.sent.wait()
                    await self._give_back()
                    await self._client.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # AssertionError: it never was connected
        with contextlib.suppress(Error, OSError, TimeoutError, AssertionError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._client.close()

    async def _give_back(self) -> None:
        """Let others have at once what came and was not acknowledged. Not while a request waits: see adr 13."""
        if not self._arrivals.unacknowledged:
            return
        for pull in list(self._pulls):
            await pull.idle.wait()
        for reply in self._arrivals.unacknowledged:
            await self._client.publish(reply, GIVEN_BACK)

    async def _pull(self, durable: Durable) -> None:
        pull = Pull(self._client, durable.name, self._flowing, self._arrivals.stored)
        self._pulls.append(pull)
        try:
            await pull.run()
        finally:
            self._pulls.remove(pull)

    def _hold(self, held: bool) -> None:
        (self.pause if held else self.resume)()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._inbox.end(BrokerAway(f"the connection is lost: {error}"))

    async def _closed(self) -> None:
        self._inbox.end(BrokerAway("the connection is lost"))

    async def _failed(self, error: Exception) -> None:
        if not isinstance(error, SlowConsumerError):
            log.debug("NATS: %s", error)
        elif not self._dropping:
            self._dropping = True
            log.warning("more QoS 0 publishes come than can be committed: some are dropped")


def _sound(topic_filter: str) -> list[str]:
    try:
        return subjects_of(topic_filter)
    except ValueError:
        return []
