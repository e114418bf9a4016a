"""The marker: a time that a session publishes to itself, and what must do where it may not publish."""

import asyncio
import contextlib
import logging

from handlers.events import Micros
from ingest.errors import BrokerRefused, RollcallError
from ingest.integrations.plans import SessionPlan
from ingest.mqtt.port import Clock, Connection
from ingest.sessions.inflight import SessionInflight
from ingest.store.commit.sessions import Sessions

log = logging.getLogger(__name__)

QUIET_S = 5.0
QUIET_LOOKS = 10
MARKERS_IN_VAIN = 20
IN_VAIN = (
    "its markers do not come back, so nobody falls silent: may we publish and read below rollcall/ (the ACL)?"
)


class Marker:
    """Publishes a session's marker for as long as a connection of it lasts."""

    def __init__(self, plan: SessionPlan, sessions: Sessions, clock: Clock) -> None:
        self._plan = plan
        self._sessions = sessions
        self._clock = clock

    async def publish_until_cancelled(self, connection: Connection, inflight: SessionInflight) -> None:
        """Publish the time to ourselves; what comes back says how far everything before it was heard."""
        sent = 0
        try:
            while True:
                await connection.publish(self._plan.marker_topic, b"%d" % self._clock())
                await asyncio.sleep(self._plan.marker_interval_s)
                sent += not inflight.caught_up.is_set() and not inflight.pending
                if sent == MARKERS_IN_VAIN:
                    log.warning("integration %s: %s", self._plan.name, IN_VAIN)
        except BrokerRefused as refused:
            log.warning("integration %s: no marker, so quiet must do: %s", self._plan.name, refused)
            await self._take_quiet_for_heard(connection, inflight)

    async def until_all_is_heard(self, connection: Connection, inflight: SessionInflight) -> None:
        """Return once all that the broker held for a session that gets nothing new was heard and is committed.

        A marker published from now on comes behind it. Where none may be published, or none comes back, quiet shows it.
        Raises: BrokerAway.
        """
        since = self._clock()
        while inflight.heard_until < since:
            with contextlib.suppress(BrokerRefused):
                await connection.publish(self._plan.marker_topic, b"%d" % self._clock())
            if await self._is_quiet(connection, inflight, since):
                break
        await inflight.idle.wait()

    async def _is_quiet(self, connection: Connection, inflight: SessionInflight, since: Micros) -> bool:
        """Return whether nothing came for QUIET_S between two answers of the broker; returns early at a marker."""
        await self._ask(connection)
        arrived = inflight.arrived
        for _ in range(QUIET_LOOKS):
            await asyncio.sleep(QUIET_S / QUIET_LOOKS)
            if inflight.pending or inflight.arrived != arrived or inflight.heard_until >= since:
                return False
        await self._ask(connection)
        return not inflight.pending and inflight.arrived == arrived

    async def _ask(self, connection: Connection) -> None:
        """Ask what a broker answers to everybody: the quiet between two answers is not that of a dead link."""
        await connection.unsubscribe([f"{self._plan.marker_topic}/none"])

    async def _take_quiet_for_heard(self, connection: Connection, inflight: SessionInflight) -> None:
        """Where publishing is forbidden: an answer of the broker, then QUIET_S in which nothing waited, say as much.

        The answer shows that the quiet is not that of a dead link.
        """
        while True:
            since = self._clock()
            await self._ask(connection)
            for _ in range(QUIET_LOOKS):
                await asyncio.sleep(QUIET_S / QUIET_LOOKS)
                if inflight.pending:
                    break
            else:
                inflight.drained()
                with contextlib.suppress(RollcallError):  # the next look tries again
                    await self._sessions.heard(inflight.session_id, since)
