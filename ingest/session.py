"""One integration's MQTT session: hold the lease, connect, subscribe, read, mark, reconnect, for ever."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from handlers.dialects.plain import Context
from handlers.events import Micros
from ingest.errors import BrokerAway, BrokerRefused, Misconfigured, ProtocolBroken, RollcallError
from ingest.jetstream.cluster import Cluster
from ingest.mqtt.auto import open_connection
from ingest.mqtt.backoff import Backoff
from ingest.mqtt.port import Broker, Clock, Connected, Connection, Subscription
from ingest.mqtt.stumbles import Stumbles
from ingest.pipeline.intake import Intake
from ingest.pipeline.pile import Feed
from ingest.pipeline.publishes import Origin
from ingest.store.creation import UnknownPolicy
from ingest.store.sessions import Sessions, StoredSession

log = logging.getLogger(__name__)

QUIET_S = 5.0
QUIET_LOOKS = 10


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What one session is to do."""

    integration_id: UUID
    name: str
    broker: Broker
    protocol: str
    context: Context
    policy: UnknownPolicy
    offline_after: Micros
    filters: tuple[str, ...]
    marker_interval_s: float
    lease_ttl_s: float
    cluster: Cluster | None = None
    """Set where the messages are read from a JetStream (ingest/jetstream)."""

    @property
    def marker_topic(self) -> str:
        """The topic of the session's own, on which it hears how far it has heard."""
        return f"rollcall/{self.broker.client_id}/marker"


class Session:
    """Runs a plan until cancelled. One replica at a time: the others stand by."""

    def __init__(
        self,
        plan: SessionPlan,
        sessions: Sessions,
        intake: Intake,
        clock: Clock,
        holder: str,
        jitter: random.Random,
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._holder = holder
        self._lease = f"mqtt/{plan.broker.client_id}"
        self._jitter = jitter
        self._backoff = Backoff(jitter)
        self._stumbles = Stumbles()
        self._session_id: int | None = None
        self.connection: Connection | None = None
        """The connection while there is one."""

    async def run(self) -> None:
        """Serve for ever."""
        while True:
            refused = False
            try:
                await self._until_leased()
                await self._serve_while_leased()
            except (BrokerRefused, Misconfigured) as error:
                refused = True
                await self._say("refused", str(error))
            except ProtocolBroken as error:
                refused = self._stumbles.again(str(error))
                await self._say("away", str(error))
                if refused:
                    await self._say("stuck", self._stumbles.way_out(self._plan.name))
            except RollcallError as error:
                await self._say("away", str(error))
            await asyncio.sleep(self._backoff.next(refused=refused))

    async def _until_leased(self) -> None:
        """Stand by until the lease is ours: an orphaned session is taken over within two times its term."""
        while not await self._sessions.lease(self._lease, self._holder, self._plan.lease_ttl_s):
            log.info("integration %s: standing by, another replica holds the lease", self._plan.name)
            await asyncio.sleep(self._jitter.uniform(0.5, 1.0) * self._plan.lease_ttl_s)

    async def _say(self, state: str, detail: str) -> None:
        log.warning("integration %s: %s: %s", self._plan.name, state, detail)
        if self._session_id is not None:
            with contextlib.suppress(RollcallError):  # the log has it; the row is for those who look later
                await self._sessions.set_state(self._session_id, state, detail)

    async def _serve_while_leased(self) -> None:
        stored = await self._sessions.open(self._plan.integration_id, self._plan.broker.client_id)
        self._session_id = stored.id
        async with together(self._renew()) as renewing:
            serving = asyncio.create_task(self._serve(stored))
            try:
                done, _ = await asyncio.wait({renewing, serving}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                with contextlib.suppress(RollcallError):  # it expires by itself
                    await self._sessions.release(self._lease, self._holder)

    async def _renew(self) -> None:
        """Renew the lease until it is lost. While the database is away nobody else can take it either."""
        while True:
            await asyncio.sleep(self._plan.lease_ttl_s / 3)
            try:
                if not await self._sessions.lease(self._lease, self._holder, self._plan.lease_ttl_s):
                    raise BrokerAway("the lease went to another replica")
            except RollcallError as error:
                if isinstance(error, BrokerAway):
                    raise
                log.warning("integration %s: the lease cannot be renewed: %s", self._plan.name, error)

    async def _serve(self, stored: StoredSession) -> None:
        plan = self._plan
        connection, connected = await open_connection(plan.protocol, plan.broker, self._clock)
        if not connected.session_present:
            stored.digests.clear()
        draining_since = stored.heard_until if connected.session_present else None
        origin = origin_of(plan, stored, connection, draining_since)
        try:
            await self._subscribe(connection, connected, stored)
            self._backoff.reset()
            self.connection = connection
            async with together(self._mark(connection, origin)):
                await self._read(connection, origin)
        finally:
            self.connection = None
            await self._let_go(connection, origin)

    async def _subscribe(self, connection: Connection, connected: Connected, stored: StoredSession) -> None:
        wanted = [Subscription(f, qos=2) for f in self._plan.filters]
        granted = await connection.subscribe([*wanted, Subscription(self._plan.marker_topic)])
        now = self._clock()
        await self._sessions.connected(self._plan.integration_id, stored, connected, granted, now)
        refused = [g for g in granted if g.qos is None]
        if len(refused) == len(granted):
            raise Misconfigured("the broker refused every topic: " + "; ".join(g.reason for g in refused))
        log.info("integration %s: connected, MQTT %s", self._plan.name, connected.protocol)

    async def _mark(self, connection: Connection, origin: Origin) -> None:
        """Publish the time to ourselves; what comes back says how far everything before it was heard."""
        try:
            while True:
                await connection.publish(self._plan.marker_topic, b"%d" % self._clock())
                await asyncio.sleep(self._plan.marker_interval_s)
        except BrokerRefused as refused:
            log.warning("integration %s: no marker, so quiet must do: %s", self._plan.name, refused)
            await self._take_quiet_for_heard(origin)

    async def _take_quiet_for_heard(self, origin: Origin) -> None:
        """Where publishing is forbidden: after QUIET_S in which nothing waited, all until then was heard."""
        while True:
            since = self._clock()
            for _ in range(QUIET_LOOKS):
                await asyncio.sleep(QUIET_S / QUIET_LOOKS)
                if origin.pending:
                    break
            else:
                origin.draining_since = None
                with contextlib.suppress(RollcallError):  # the next look tries again
                    await self._sessions.heard(origin.session_id, since)

    async def _read(self, connection: Connection, origin: Origin) -> None:
        while True:
            await self._intake.put(origin, await connection.receive())

    async def _let_go(self, connection: Connection, origin: Origin) -> None:
        """Commit and acknowledge what was handed over, then disconnect; the session stays at the broker.

        A new connection must not start before: what is in hand would come again and count twice.
        """
        try:
            await origin.idle.wait()
        finally:
            await connection.close()


def origin_of(
    plan: SessionPlan, stored: StoredSession, connection: Connection, draining_since: Micros | None
) -> Origin:
    """Return a connection of a plan's session as the pipeline sees it."""
    return Origin(
        Feed(plan.integration_id, plan.policy, plan.offline_after),
        stored.id,
        plan.broker.client_id,
        plan.context,
        plan.marker_topic,
        stored.digests,
        connection,
        draining_since=draining_since,
    )


@contextlib.asynccontextmanager
async def together(coroutine: "asyncio._CoroutineLike[None]") -> AsyncIterator[asyncio.Task[None]]:
    """Run a coroutine beside the block, and cancel it at its end."""
    task: asyncio.Task[None] = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
