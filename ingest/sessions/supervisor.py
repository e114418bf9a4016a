"""Integrations live: each active row of type mqtt has its slots; a changed row restarts only its own."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from ingest.crypto import is_encrypted, secret_context
from ingest.errors import BrokerAway, DatabaseAway, Misconfigured, ProviderAway
from ingest.integrations import secrets as integration_secrets
from ingest.integrations.field_paths import warn_of_missing
from ingest.integrations.planner import Planner
from ingest.integrations.plans import SessionPlan
from ingest.integrations.watch import watch
from ingest.mqtt.port import Clock
from ingest.pipeline.adoption import Adopting, adopt_for_ever
from ingest.pipeline.intake import Intake
from ingest.sessions.slots import Slots
from ingest.store.commit.parking import Parking
from ingest.store.commit.sessions import Sessions
from ingest.store.config.integrations import IntegrationRow, IntegrationRows
from ingest.tasks import background_task

if TYPE_CHECKING:
    from ingest.jetstream.source import JetStreamSource

log = logging.getLogger(__name__)


class Running(NamedTuple):
    """An integration that runs."""

    plan: SessionPlan
    source: "Slots | JetStreamSource"
    task: asyncio.Task[None]


class Held(NamedTuple):
    """The slots of an integration that this process holds, of how many."""

    integration_id: UUID
    name: str
    held: list[int]
    of: int


class Faulty(NamedTuple):
    """An integration whose row cannot be used, and why, without a secret."""

    integration_id: UUID
    name: str
    error: str


class Integrations:
    """Keeps the Slots of each active row running."""

    def __init__(
        self,
        rows: IntegrationRows,
        sessions: Sessions,
        parking: Parking,
        planner: Planner,
        intake: Intake,
        clock: Clock,
        holder: str,
        jitter: random.Random,
    ) -> None:
        self._rows = rows
        self._sessions = sessions
        self._parking = parking
        self._planner = planner
        self._intake = intake
        self._clock = clock
        self._holder = holder
        self._jitter = jitter
        self._running: dict[UUID, Running] = {}
        self._stopping = False
        self.misconfigured: list[Faulty] = []
        """The active integrations that do not run, as of the last look at the rows."""

    async def run(self) -> None:
        """Follow the rows for ever."""
        async with background_task(adopt_for_ever(self._parking, self._adopting)):
            await watch(self._rows, self._follow, self._jitter)

    async def _follow(self) -> None:
        plans: dict[UUID, SessionPlan] = {}
        faulty: list[Faulty] = []
        for row in await self._rows.active():
            with _alone(row.id, row.name, faulty):
                await self._encrypt(row)
                plans[row.id] = self._planner.plan(row)
        for integration_id, running in list(self._running.items()):
            if plans.get(integration_id) != running.plan or running.task.done():
                await self._end(integration_id)
        for integration_id, plan in plans.items():
            if integration_id not in self._running and not self._stopping:
                with _alone(integration_id, plan.name, faulty):
                    source = self._source(plan)
                    task = asyncio.create_task(source.run(), name=f"source {plan.name}")
                    self._running[integration_id] = Running(plan, source, task)
        self.misconfigured = faulty
        for running in self._running.values():
            warn_of_missing(running.plan.name, running.plan.context.field_paths)

    def _source(self, plan: SessionPlan) -> "Slots | JetStreamSource":
        if plan.cluster is None:
            return Slots(plan, self._sessions, self._intake, self._clock, self._holder, self._jitter)
        from ingest.jetstream.source import JetStreamSource  # its library is an extra

        return JetStreamSource(plan, plan.cluster, self._sessions, self._intake, self._clock, self._jitter)

    async def _encrypt(self, row: IntegrationRow) -> None:
        """Encrypt the secrets that somebody wrote in the clear, in place."""
        keyring = self._planner.keyring
        for place, text in integration_secrets.found(row.settings, integration_secrets.BROKER).items():
            if keyring.can_encrypt and text and not is_encrypted(text):
                encrypted = keyring.encrypt(text, secret_context(row.id, place))
                await self._rows.replace_secret(row.id, place, text, encrypted)

    def _adopting(self) -> list[Adopting]:
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


@contextlib.contextmanager
def _alone(integration_id: UUID, name: str, faulty: list[Faulty]) -> Iterator[None]:
    """Let what goes wrong with one integration cost that one alone: the log says it, and `faulty` has it.

    Of what nobody expected only the kind is said: its text may hold a secret.

    Raises: DatabaseAway, which concerns them all.
    """
    try:
        yield
        return
    except DatabaseAway:
        raise
    except Misconfigured as error:
        told = str(error)
    except Exception as error:
        told = f"integration {name!r}: an error in Rollcall: {type(error).__name__}"
    log.error("%s", told)
    faulty.append(Faulty(integration_id, name, told))
