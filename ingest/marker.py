"""The marker: a time that a session publishes to itself, and what must do where it may not publish."""

import asyncio
import contextlib
import logging

from ingest.errors import BrokerRefused, RollcallError
from ingest.mqtt.port import Clock, Connection
from ingest.pipeline.origin import Origin
from ingest.slots.plan import SessionPlan
from ingest.store.sessions import Sessions

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

    async def publish_for_ever(self, connection: Connection, origin: Origin) -> None:
        """Publish the time to ourselves; what comes back says how far everything before it was heard."""
        sent = 0
        try:
            while True:
                await connection.publish(self._plan.marker_topic, b"%d" % self._clock())
                await asyncio.sleep(self._plan.marker_interval_s)
                sent += not origin.marked.is_set() and not origin.pending
                if sent == MARKERS_IN_VAIN:
                    log.warning("integration %s: %s", self._plan.name, IN_VAIN)
        except BrokerRefused as refused:
            log.warning("integration %s: no marker, so quiet must do: %s", self._plan.name, refused)
            await self._take_quiet_for_heard(connection, origin)

    async def _take_quiet_for_heard(self, connection: Connection, origin: Origin) -> None:
        """Where publishing is forbidden: an answer of the broker, then QUIET_S in which nothing waited, say as much.

        The answer is to a question that it answers to everybody, and shows that the quiet is not that of a dead link.
        """
        while True:
            since = self._clock()
            await connection.unsubscribe([f"{self._plan.marker_topic}/none"])
            for _ in range(QUIET_LOOKS):
                await asyncio.sleep(QUIET_S / QUIET_LOOKS)
                if origin.pending:
                    break
            else:
                origin.drained()
                with contextlib.suppress(RollcallError):  # the next look tries again
                    await self._sessions.heard(origin.session_id, since)
