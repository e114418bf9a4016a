"""Retirement: a session under a client id that its integration uses no longer is drained, and the broker forgets it.

Without it the broker would go on queueing for it, and the sweep would wait for ever to hear from it.
"""

import asyncio
import contextlib
import logging
import random
from dataclasses import replace

from ingest.errors import BrokerRefused, RollcallError
from ingest.marker import QUIET_S
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Clock, Connection
from ingest.pipeline.intake import Intake
from ingest.pipeline.origin import Origin
from ingest.session import origin_of, read
from ingest.slots.plan import SessionPlan
from ingest.store.sessions import Sessions
from ingest.tasks import together

log = logging.getLogger(__name__)

AGAIN_S = 5.0
DRAINED_WITHIN_S = 600.0


class Retirement:
    """Retires the sessions that a plan has replaced."""

    def __init__(
        self, sessions: Sessions, intake: Intake, clock: Clock, holder: str, jitter: random.Random
    ) -> None:
        self._sessions = sessions
        self._intake = intake
        self._clock = clock
        self._holder = holder
        self._jitter = jitter

    async def run(self, plan: SessionPlan, client_ids: list[str]) -> None:
        """Try once to retire these; then wait a little, so that whoever calls again does so at a pace."""
        for client_id in client_ids:
            with contextlib.suppress(
                RollcallError
            ):  # the broker or the database is away: the sessions say so
                await self._retire(replace(plan, broker=replace(plan.broker, client_id=client_id)))
        await asyncio.sleep(self._jitter.uniform(0.5, 1.0) * AGAIN_S)

    async def _retire(self, plan: SessionPlan) -> None:
        """Retire one, unless a replica with older settings still holds it."""
        if not await self._sessions.lease(plan.lease, self._holder, DRAINED_WITHIN_S):
            return
        try:
            async with asyncio.timeout(DRAINED_WITHIN_S):
                await self._drain(plan)
                forgetful = replace(plan.broker, clean_start=True, session_expiry_s=0)
                connection, _ = await open_connection(plan.protocol, forgetful, self._clock)
                await connection.close()
            await self._sessions.forget(plan.integration_id, plan.broker.client_id)
            log.info("integration %s: the session %s is retired", plan.name, plan.broker.client_id)
        except TimeoutError:
            log.warning("integration %s: %s is not drained yet", plan.name, plan.broker.client_id)
        finally:
            await self._sessions.release(plan.lease, self._holder)

    async def _drain(self, plan: SessionPlan) -> None:
        stored = await self._sessions.open(plan.integration_id, plan.broker.client_id)
        connection, connected = await open_connection(plan.protocol, plan.broker, self._clock)
        origin = origin_of(plan, stored, connection, stored.heard_until)
        try:
            if connected.session_present:
                # From here on a shared filter brings it nothing, so behind the marker comes nothing that only it has.
                kept = plan.marker_topic
                await connection.unsubscribe([one for one in stored.subscriptions if not one.endswith(kept)])
                async with together(read(connection, origin, self._intake)):
                    await self._until_marked(connection, origin)
                await origin.idle.wait()
        finally:
            await connection.close()

    async def _until_marked(self, connection: Connection, origin: Origin) -> None:
        """Wait until what waited before now is committed: a marker comes behind it."""
        try:
            await connection.publish(origin.marker_topic, b"%d" % self._clock())
            await origin.marked.wait()
        except BrokerRefused:
            await asyncio.sleep(QUIET_S)
