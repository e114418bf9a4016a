"""One integration's JetStream source: connect, pull, record how far it has heard, reconnect, until cancelled.

No lease: all replicas read at once, and the consumers deal the messages out among them.
"""

import asyncio
import contextlib
import logging
import random

from ingest.backoff import Backoff
from ingest.errors import BrokerRefused, Misconfigured, RollcallError
from ingest.integrations.plans import StreamPlan
from ingest.jetstream.connection import JetStreamConnection
from ingest.jetstream.redeliveries import NoRedeliveryFilter
from ingest.mqtt.port import Clock, Subscription
from ingest.pipeline.intake import Intake
from ingest.pipeline.segment import IntegrationContext
from ingest.sessions.inflight import SessionInflight
from ingest.sessions.reading import let_go, read
from ingest.store.commit.sessions import Sessions
from ingest.tasks import background_task

log = logging.getLogger(__name__)

NO_MARKER = ""
"""The server says how far the consumers have heard; no topic is empty."""
ASKING_SHARE = 0.02
"""Of the time, at most, for asking how far we have heard: nats-server counts what waits, and delivers nothing then."""


class JetStreamSource:
    """Runs a plan until cancelled."""

    def __init__(
        self,
        plan: StreamPlan,
        sessions: Sessions,
        intake: Intake,
        clock: Clock,
        jitter: random.Random,
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._backoff = Backoff(jitter)
        self._session_id: int | None = None
        self._deaf = False
        self.connection: JetStreamConnection | None = None
        """The connection while there is one."""

    @property
    def held(self) -> list[int]:
        """The slots that this process holds: one, while it is connected."""
        return [0] if self.connection else []

    @property
    def client_ids(self) -> list[str]:
        """The name that all replicas share."""
        return [self._plan.broker.client_id]

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            refused = False
            try:
                await self._serve()
            except (BrokerRefused, Misconfigured) as error:
                refused = True
                await self._say("refused", str(error))
            except RollcallError as error:
                await self._say("away", str(error))
            await asyncio.sleep(self._backoff.next(refused=refused))

    async def _say(self, state: str, detail: str) -> None:
        log.warning("integration %s: %s: %s", self._plan.name, state, detail)
        if self._session_id is not None:
            with contextlib.suppress(RollcallError):  # the log has it; the row is for those who look later
                await self._sessions.set_state(self._session_id, state, detail)

    async def _serve(self) -> None:
        plan = self._plan
        stored = await self._sessions.open(plan.integration_id, plan.broker.client_id)
        self._session_id = stored.id
        await self._forget_others()
        connection = JetStreamConnection(plan.broker, plan.cluster, plan.filters, self._clock)
        inflight = self._inflight(stored.id, connection)
        try:
            connected = await connection.connect()
            if not connected.session_present:
                await self._sessions.lost(plan.integration_id, stored, session_present=False)
            granted = await connection.subscribe([Subscription(one) for one in plan.filters])
            await connection.give_up_others()
            await self._sessions.connected(stored, connected, granted, self._clock())
            if all(one.qos is None for one in granted):
                raise Misconfigured("no topic can be read: " + "; ".join(one.reason for one in granted))
            log.info("integration %s: connected, JetStream", plan.name)
            self._backoff.reset()
            self.connection = connection
            async with background_task(self._hear(connection, stored.id)):
                await read(connection, inflight, self._intake)
        finally:
            self.connection = None
            await let_go(connection, inflight)

    async def _forget_others(self) -> None:
        """Forget the integration's former MQTT session: it would never be heard from again."""
        plan = self._plan
        slot_ownership = await self._sessions.slot_ownership(
            plan.integration_id, f"mqtt/{plan.broker.client_id}", []
        )
        for client_id in slot_ownership.subscriptions.keys() - {plan.broker.client_id}:
            log.warning("integration %s: its former MQTT session is given up", plan.name)
            await self._sessions.forget(plan.integration_id, client_id)

    async def _hear(self, connection: JetStreamConnection, session_id: int) -> None:
        """Move on how far the integration has heard: the row is one for all replicas, and only goes forward."""
        clock = asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            try:
                await self._sessions.heard(session_id, await connection.heard_until())
                self._deaf = False
            except RollcallError as error:  # lost: the reader is told; the database: next time
                if not self._deaf:
                    told = "integration %s: how far it has heard cannot be told: %s"
                    log.warning(told, self._plan.name, error)
                self._deaf = True
            await asyncio.sleep(ask_again_in(self._plan.hear_interval_s, clock() - asked_at))

    def _inflight(self, session_id: int, connection: JetStreamConnection) -> SessionInflight:
        plan = self._plan
        return SessionInflight(
            IntegrationContext(plan.integration_id, plan.policy, plan.offline_after),
            session_id,
            plan.broker.client_id,
            plan.context,
            NO_MARKER,
            NoRedeliveryFilter(),
            connection,
        )


def ask_again_in(interval_s: float, took_s: float) -> float:
    """Return the pause after a question that took so long, in seconds: longer where a backlog makes it dear."""
    return max(interval_s, took_s / ASKING_SHARE)
