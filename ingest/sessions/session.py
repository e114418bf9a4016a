"""One MQTT session: lease, connect, subscribe, read, mark, reconnect, until another replica has the lease.

A session under a client id that is used no longer is the same, but ends: once all that waits is committed, the broker
forgets it. Else the broker would go on queueing for it, and the sweep would wait without end to hear from it.
"""

import asyncio
import contextlib
import logging
import random
from dataclasses import replace

from ingest.backoff import Backoff
from ingest.errors import (
    BrokerRefused,
    Misconfigured,
    ProtocolBroken,
    RollcallError,
    SessionTakenOver,
)
from ingest.integrations.plans import SessionPlan
from ingest.mqtt.auto import open_connection
from ingest.mqtt.poison import PoisonPacketDetector
from ingest.mqtt.port import Clock, Connected, Connection
from ingest.pipeline.intake import Intake
from ingest.pipeline.segment import IntegrationContext
from ingest.sessions.drain import MAX_OFFLINE, Drain
from ingest.sessions.inflight import SessionInflight
from ingest.sessions.marker import Marker
from ingest.sessions.reading import let_go, read
from ingest.sessions.redeliveries import RedeliveryLog
from ingest.sessions.subscriptions import Subscriber
from ingest.store.commit.sessions import Sessions, StoredSession
from ingest.tasks import background_task, first_completed

log = logging.getLogger(__name__)


class Session:
    """Runs a plan until cancelled, until another replica has its lease, or until a retiring session is forgotten."""

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
        self._jitter = jitter
        self._marker = Marker(plan, sessions, clock)
        self._subscriber = Subscriber(plan, sessions, clock)
        self._backoff = Backoff(jitter)
        self._poison = PoisonPacketDetector()
        self._session_id: int | None = None
        self.connection: Connection | None = None
        """The connection while there is one."""
        self.leased = False
        self.failing = False
        """Whether the last attempt has failed and nothing was heard since."""

    async def run(self) -> None:
        """Serve until another replica holds the lease, or the session was retired.

        Raises: SessionTakenOver where another connection uses our client id: whoever it is, we do not fight.
        """
        while True:
            refused = False
            try:
                if not await self._leases():
                    return
                await self._serve_while_leased()
                return
            except _LeaseLost as lost:
                log.warning("integration %s: %s", self._plan.name, lost)
                return
            except SessionTakenOver as error:
                await self._say_taken_over(error)
                raise
            except (BrokerRefused, Misconfigured) as error:
                refused = not (isinstance(error, BrokerRefused) and error.passes)
                await self._say("refused" if refused else "away", str(error))
            except ProtocolBroken as error:
                refused = self._poison.again(str(error))
                await self._say("away", str(error))
                if refused:
                    await self._say("stuck", self._poison.hint(self._plan.name))
            except RollcallError as error:
                await self._say("away", str(error))
            self.failing = True
            await asyncio.sleep(self._backoff.next(refused=refused))

    async def _leases(self) -> bool:
        """Take or renew the lease; False where another replica holds it."""
        return await self._sessions.lease(self._plan.lease, self._holder, self._plan.lease_ttl_s)

    async def _say_taken_over(self, error: SessionTakenOver) -> None:
        """Say it, unless another replica has taken the lease: then the session is in good hands, and the row theirs."""
        with contextlib.suppress(RollcallError):
            if await self._leases():
                if self._session_id is not None:
                    await self._sessions.taken_over(self._plan.integration_id, self._session_id)
                await self._say("taken over", f"{error}: does something else use {self._plan.public_name}?")
                await self._sessions.release(self._plan.lease, self._holder)

    async def _say(self, state: str, detail: str) -> None:
        detail = self._plan.hidden(detail)  # a broker may repeat our client id
        log.warning("integration %s: %s: %s", self._plan.name, state, detail)
        if self._session_id is not None:
            with contextlib.suppress(RollcallError):  # the log has it; the row is for those who look later
                await self._sessions.set_state(self._session_id, state, detail)

    async def _serve_while_leased(self) -> None:
        stored = await self._sessions.open(self._plan.integration_id, self._plan.broker.client_id)
        self._session_id = stored.id
        self.leased = True
        async with background_task(self._renew()) as renewing:
            try:
                async with background_task(self._serve(stored)) as serving:
                    await first_completed(renewing, serving)
            finally:
                self.leased = False
                with contextlib.suppress(RollcallError):  # it expires by itself
                    await self._sessions.release(self._plan.lease, self._holder)

    async def _renew(self) -> None:
        """Renew the lease until it is lost. While the database is away nobody else can take it either."""
        while True:
            await asyncio.sleep(self._plan.lease_ttl_s / 3)
            try:
                if not await self._leases():
                    raise _LeaseLost(f"the lease of slot {self._plan.slot} went to another replica")
            except RollcallError as error:
                log.warning("integration %s: the lease cannot be renewed: %s", self._plan.name, error)

    async def _serve(self, stored: StoredSession) -> None:
        plan = self._plan
        why_alone = await self._subscriber.why_alone()
        connection, connected = await open_connection(plan.protocol, plan.broker, self._clock)
        redeliveries = RedeliveryLog.load(stored)
        if connected.protocol == "5":
            redeliveries.keep(plan.broker.receive_maximum)
        inflight = inflight_of(plan, stored.id, redeliveries, connection)
        try:
            inflight.drain = await self._drain(stored, connection, connected)
            # Reading begins at once: the answers to what is asked come behind the session's backlog.
            async with background_task(read(connection, inflight, self._intake)) as reading:
                if not connected.session_present:
                    redeliveries.clear()
                inflight.gap_since(await self._subscriber.tell_if_lost(connection, connected, stored))
                await self._subscriber.subscribe(connection, connected, stored, why_alone)
                self.failing = False
                self.connection = connection
                async with background_task(self._hear(connection, inflight)) as hearing:
                    await first_completed(reading, hearing)
        finally:
            self.connection = None
            if inflight.caught_up.is_set():
                self._poison.past()
                self._backoff.reset()
            await let_go(connection, inflight)
        await self._forget(stored)

    async def _drain(
        self, stored: StoredSession, connection: Connection, connected: Connected
    ) -> Drain | None:
        """Return what is known of the backlog before it is read; None where there is none."""
        if not connected.session_present or stored.heard_until is None:
            return None
        connection.pause()
        most = MAX_OFFLINE + 1
        offline = await self._sessions.offline_since(self._plan.integration_id, stored.heard_until, most)
        connection.resume()
        return Drain.resumed(stored.heard_until, offline)

    async def _hear(self, connection: Connection, inflight: SessionInflight) -> None:
        """Publish markers for as long as the connection lasts; of a retiring session until all is heard."""
        if self._plan.retiring:
            await self._marker.until_all_is_heard(connection, inflight)
        else:
            await self._marker.publish_until_cancelled(connection, inflight)

    async def _forget(self, stored: StoredSession) -> None:
        """Let the broker forget a session in which nothing waits any more, then delete its row."""
        plan = self._plan
        await self._sessions.drained(stored.id)
        forgetful = replace(plan.broker, clean_start=True, session_expiry_s=0)
        connection, _ = await open_connection(plan.protocol, forgetful, self._clock)
        await connection.close()
        await self._sessions.forget(plan.integration_id, plan.broker.client_id)
        log.info("integration %s: the session %s is retired", plan.name, plan.public_name)


class _LeaseLost(Exception):  # noqa: N818
    """Another replica has the lease now: this session ends."""


def inflight_of(
    plan: SessionPlan, session_id: int, redeliveries: RedeliveryLog, connection: Connection
) -> SessionInflight:
    """Return a connection of a plan's session as what it brings is read."""
    return SessionInflight(
        IntegrationContext(plan.integration_id, plan.policy, plan.offline_after),
        session_id,
        plan.public_name,
        plan.context,
        plan.marker_topic,
        redeliveries,
        connection,
    )
