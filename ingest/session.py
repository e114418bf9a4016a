"""One MQTT session: lease, connect, subscribe, read, mark, reconnect, until another replica has the lease."""

import asyncio
import contextlib
import logging
import random
from typing import Protocol

from handlers.events import Micros
from ingest.errors import (
    BrokerRefused,
    Misconfigured,
    ProtocolBroken,
    RollcallError,
    SessionTakenOver,
)
from ingest.marker import Marker
from ingest.mqtt.auto import open_connection
from ingest.mqtt.backoff import Backoff
from ingest.mqtt.port import Clock, Connected, Connection, Granted, Inbound, Subscription
from ingest.mqtt.stumbles import Stumbles
from ingest.pipeline.intake import Intake
from ingest.pipeline.origin import Origin
from ingest.pipeline.pile import Feed
from ingest.slots.plan import SessionPlan
from ingest.slots.sharing import why_unshareable
from ingest.store.sessions import Sessions, StoredSession
from ingest.tasks import together, until_one_ends

log = logging.getLogger(__name__)


class Session:
    """Runs a plan until cancelled, or until another replica has its lease."""

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
        self._backoff = Backoff(jitter)
        self._stumbles = Stumbles()
        self._session_id: int | None = None
        self.connection: Connection | None = None
        """The connection while there is one."""
        self.leased = False
        self.failing = False
        """Whether the last attempt has failed and nothing was heard since."""

    async def run(self) -> None:
        """Serve until another replica holds the lease.

        Raises: SessionTakenOver where another connection uses our client id: whoever it is, we do not fight.
        """
        while True:
            refused = False
            try:
                if not await self._leases():
                    return
                await self._serve_while_leased()
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
                refused = self._stumbles.again(str(error))
                await self._say("away", str(error))
                if refused:
                    await self._say("stuck", self._stumbles.way_out(self._plan.name))
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
                await self._say(
                    "taken over", f"{error}: does something else use {self._plan.broker.client_id}?"
                )
                await self._sessions.release(self._plan.lease, self._holder)

    async def _say(self, state: str, detail: str) -> None:
        log.warning("integration %s: %s: %s", self._plan.name, state, detail)
        if self._session_id is not None:
            with contextlib.suppress(RollcallError):  # the log has it; the row is for those who look later
                await self._sessions.set_state(self._session_id, state, detail)

    async def _serve_while_leased(self) -> None:
        stored = await self._sessions.open(self._plan.integration_id, self._plan.broker.client_id)
        self._session_id = stored.id
        self.leased = True
        async with together(self._renew()) as renewing:
            try:
                async with together(self._serve(stored)) as serving:
                    await until_one_ends(renewing, serving)
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
        why_alone = await self._why_alone()
        connection, connected = await open_connection(plan.protocol, plan.broker, self._clock)
        draining_since = stored.heard_until if connected.session_present else None
        if connected.protocol == "5":
            stored.digests.keep(plan.broker.receive_maximum)
        origin = origin_of(plan, stored, connection, draining_since)
        try:
            # Reading begins at once: the answers to what is asked come behind the session's backlog.
            async with together(read(connection, origin, self._intake)) as reading:
                await self._tell_if_lost(connection, connected, stored)
                await self._subscribe(connection, connected, stored, why_alone)
                self._backoff.reset()
                self.failing = False
                self.connection = connection
                async with together(self._marker.publish_for_ever(connection, origin)) as marking:
                    await until_one_ends(reading, marking)
        finally:
            self.connection = None
            if origin.marked.is_set():
                self._stumbles.past()
            await let_go(connection, origin)

    async def _why_alone(self) -> str | None:
        """Where slot 0 is to share its telemetry and cannot, say why: it goes on alone then."""
        plan = self._plan
        if plan.slot or not plan.shared:
            return None
        return await why_unshareable(plan.protocol, plan.broker, self._clock)

    async def _tell_if_lost(
        self, connection: Connection, connected: Connected, stored: StoredSession
    ) -> None:
        """Tell the timeline where the broker holds nothing for us any more, before anything is subscribed.

        So a process that dies between the two is noticed by the next: there is a session then, but the marker that the
        row knows as subscribed reaches nobody. It is the same where a broker forgets subscriptions by itself.
        """
        present = connected.session_present
        if present and await self._is_subscribed(connection, stored):
            return
        if not present:
            stored.digests.clear()
        await self._sessions.lost(self._plan.integration_id, stored, session_present=present)

    async def _is_subscribed(self, connection: Connection, stored: StoredSession) -> bool:
        """Tell whether our marker still reaches us, if it ever did; where the broker does not say, it does."""
        topic = self._plan.marker_topic
        if not any(one.endswith(topic) for one in stored.subscriptions):
            return True
        try:
            return await connection.publish(topic, b"%d" % self._clock())
        except BrokerRefused:
            return True

    async def _subscribe(
        self, connection: Connection, connected: Connected, stored: StoredSession, why_alone: str | None
    ) -> None:
        plan, note = self._plan, ""
        if why_alone is not None:
            note = f"one slot of {plan.slots}: {why_alone}"
            log.warning("integration %s: %s", plan.name, note)
        wanted = plan.subscriptions(shares=plan.slots > 1 and why_alone is None)
        if _needs_no_subscribe(connected, stored, wanted):
            granted = [Granted(one.topic_filter, one.qos, "") for one in wanted]
        else:
            granted = await connection.subscribe(wanted)
        if connected.session_present:
            # Only now, so that nothing is missed: for a moment some may come twice.
            filters = {one.topic_filter for one in wanted}
            await connection.unsubscribe([one for one in stored.subscriptions if one not in filters])
        now = self._clock()
        await self._sessions.connected(stored, connected, granted, now, note)
        refused = [g for g in granted if g.qos is None]
        for one in granted:
            if not one.qos:
                why = one.reason if one.qos is None else "granted at QoS 0: what it brings may be lost"
                log.warning("integration %s: the topic %s: %s", plan.name, one.topic_filter, why)
        if len(refused) == len(granted):
            raise Misconfigured("the broker refused every topic: " + "; ".join(g.reason for g in refused))
        log.info("integration %s: slot %d connected, MQTT %s", plan.name, plan.slot, connected.protocol)


class _LeaseLost(Exception):  # noqa: N818
    """Another replica has the lease now: this session ends."""


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
        epoch=stored.epoch,
        draining_since=draining_since,
    )


def _needs_no_subscribe(connected: Connected, stored: StoredSession, wanted: list[Subscription]) -> bool:
    """Tell whether the session has these subscriptions, where asking for them again would bring what is retained again.

    MQTT 5 has a word for that (retain handling 1). Shared ones, which bring nothing that is retained, are asked for.
    """
    filters = {one.topic_filter for one in wanted}
    shared = any(one.startswith("$share/") for one in filters)
    as_before = connected.session_present and filters == set(stored.subscriptions)
    return connected.protocol == "3.1.1" and as_before and not shared


class Readable(Protocol):
    """The part of a connection that reading needs."""

    async def receive(self) -> list[Inbound]:
        """Return what came, at least one. Raises: BrokerAway."""

    async def close(self) -> None:
        """Disconnect; the session stays."""


async def read(connection: Readable, origin: Origin, intake: Intake) -> None:
    """Put what comes into the intake until the connection ends. Raises: BrokerAway."""
    while True:
        await intake.put(origin, await connection.receive())


async def let_go(connection: Readable, origin: Origin) -> None:
    """Commit and acknowledge what was handed over, then disconnect; the session stays at the broker.

    A new connection must not start before: what is in hand would come again and count twice.
    """
    try:
        await origin.idle.wait()
    finally:
        await connection.close()
