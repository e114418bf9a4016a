"""The supervisor of the sessions: each active mqtt integration has its slots; a changed row restarts only its own."""

import asyncio
import logging
import random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from ingest.errors import BrokerAway, ProviderAway
from ingest.integrations.catalog import Fault, View, isolated
from ingest.integrations.field_paths import warn_of_missing
from ingest.integrations.plans import IntegrationPlan, SessionPlan
from ingest.mqtt.port import Clock
from ingest.pipeline.adoption import Adopting
from ingest.pipeline.intake import Intake
from ingest.sessions.slots import Slots
from ingest.store.commit.sessions import Sessions

if TYPE_CHECKING:
    from ingest.jetstream.source import JetStreamSource

log = logging.getLogger(__name__)


class Running(NamedTuple):
    """An integration that runs."""

    plan: IntegrationPlan
    source: "Slots | JetStreamSource"
    task: asyncio.Task[None]


class Held(NamedTuple):
    """The slots of an integration that this process holds, of how many."""

    integration_id: UUID
    name: str
    held: list[int]
    of: int


class Integrations:
    """Keeps the Slots of each active row running."""

    def __init__(
        self,
        view: View[IntegrationPlan],
        sessions: Sessions,
        intake: Intake,
        clock: Clock,
        holder: str,
        jitter: random.Random,
    ) -> None:
        self._view = view
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._holder = holder
        self._jitter = jitter
        self._running: dict[UUID, Running] = {}
        self._unstarted: dict[UUID, Fault] = {}
        self._stopping = False

    async def run(self) -> None:
        """Follow the plans until cancelled."""
        while True:
            await self._view.read_again()
            await self._follow()

    async def _follow(self) -> None:
        """End what is gone or has changed, and start what is new; the plans may change meanwhile."""
        plans = dict(self._view.valid)
        for integration_id, running in list(self._running.items()):
            if plans.get(integration_id) != running.plan or running.task.done():
                await self._end(integration_id)
        self._unstarted = {}
        for integration_id, plan in plans.items():
            if integration_id not in self._running and not self._stopping:
                self._start(integration_id, plan)
        for running in self._running.values():
            warn_of_missing(running.plan.name, running.plan.context.field_paths)

    def _start(self, integration_id: UUID, plan: IntegrationPlan) -> None:
        source = isolated(integration_id, plan.name, lambda: self._source(plan))
        if isinstance(source, Fault):
            self._unstarted[integration_id] = source
            return
        task = asyncio.create_task(source.run(), name=f"source {plan.name}")
        self._running[integration_id] = Running(plan, source, task)

    def _source(self, plan: IntegrationPlan) -> "Slots | JetStreamSource":
        if isinstance(plan, SessionPlan):
            return Slots(plan, self._sessions, self._intake, self._clock, self._holder, self._jitter)
        from ingest.jetstream.source import JetStreamSource  # its library is an extra

        return JetStreamSource(plan, self._sessions, self._intake, self._clock, self._jitter)

    def adopting(self) -> list[Adopting]:
        """Return the integrations that may have parked ids."""
        plans = [running.plan for running in self._running.values()]
        return [
            Adopting(plan.integration_id, plan.name, plan.offline_after, plan.policy.matches_others)
            for plan in plans
        ]

    async def _end(self, integration_id: UUID) -> None:
        """Stop its source. One that has ended by itself has met what nobody expected: the log names its kind."""
        running = self._running.pop(integration_id)
        running.task.cancel()
        (ended,) = await asyncio.gather(running.task, return_exceptions=True)
        if isinstance(ended, Exception):
            log.error("integration %r: an error in Rollcall: %s", running.plan.name, type(ended).__name__)

    @property
    def misconfigured(self) -> list[Fault]:
        """The active integrations that cannot run, as of the last reading of the rows."""
        return [*self._view.faults.values(), *self._unstarted.values()]

    @property
    def sessions(self) -> list[tuple[UUID, str]]:
        """The sessions that should run: (integration id, client id)."""
        return [
            (plan.integration_id, one)
            for plan, source, _ in self._running.values()
            for one in source.client_ids
        ]

    @property
    def slots(self) -> list[Held]:
        """What this process holds of each integration."""
        return [
            Held(plan.integration_id, plan.name, source.held, plan.slots)
            for plan, source, _ in self._running.values()
        ]

    def state(self, integration_id: UUID) -> str:
        """Say whether an integration is connected here."""
        running = self._running.get(integration_id)
        return "connected" if running and running.source.connection else "not connected by this process"

    async def publish(self, integration_id: UUID, topic: str, payload: bytes, *, retain: bool) -> None:
        """Publish at QoS 1 on a session of an integration. Raises: ProviderAway where it is not connected here."""
        running = self._running.get(integration_id)
        connection = running.source.connection if running else None
        if connection is None:
            raise ProviderAway("this process is not connected to the broker: another may be, or nobody is")
        try:
            await connection.publish(topic, payload, retain=retain)
        except BrokerAway as away:
            raise ProviderAway(str(away)) from away

    async def stop(self) -> None:
        """End all sessions, and begin none: each commits and acknowledges what is in hand first."""
        self._stopping = True
        await asyncio.gather(*(self._end(integration_id) for integration_id in list(self._running)))
