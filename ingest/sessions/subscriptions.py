"""Subscriptions of a session: those that the broker still holds, those to ask for, those to give up."""

import logging

from handlers.events import Micros
from ingest.errors import BrokerRefused, Misconfigured
from ingest.integrations.plans import SessionPlan
from ingest.mqtt.port import Clock, Connected, Connection, Granted, Subscription
from ingest.sessions.shared_probe import why_unshareable
from ingest.store.commit.sessions import Sessions, StoredSession

log = logging.getLogger(__name__)


class Subscriber:
    """Brings a session's subscriptions to what its plan asks for, after each connect."""

    def __init__(self, plan: SessionPlan, sessions: Sessions, clock: Clock) -> None:
        self._plan = plan
        self._sessions = sessions
        self._clock = clock

    async def why_alone(self) -> str | None:
        """Where slot 0 is to share its telemetry and cannot, say why: it goes on alone then."""
        plan = self._plan
        if plan.slot or not plan.shared:
            return None
        return await why_unshareable(
            plan.protocol, plan.broker, self._clock, below=f"rollcall/{plan.public_name}"
        )

    async def tell_if_lost(
        self, connection: Connection, connected: Connected, stored: StoredSession
    ) -> Micros | None:
        """Tell the timeline where the broker holds nothing for us any more, before anything is subscribed.

        So a process that dies between the two is noticed by the next: there is a session then, but the marker that the
        row knows as subscribed reaches nobody. It is the same where a broker forgets subscriptions by itself.

        Return the beginning of the newest gap, now or before; None where there never was one.
        """
        present = connected.session_present
        if present and await self._is_subscribed(connection, stored):
            return stored.gap_since
        if self._plan.retiring and not stored.subscriptions:
            return None  # it was drained, and forgotten by the broker: only its row is left
        await self._sessions.lost(self._plan.integration_id, stored, session_present=present)
        return stored.heard_until

    async def _is_subscribed(self, connection: Connection, stored: StoredSession) -> bool:
        """Return whether our marker still reaches us, if it ever did; where the broker does not say, it does."""
        topic = self._plan.marker_topic
        if not any(one.endswith(topic) for one in stored.subscriptions):
            return True
        try:
            return await connection.publish(topic, b"%d" % self._clock())
        except BrokerRefused:
            return True

    async def subscribe(
        self, connection: Connection, connected: Connected, stored: StoredSession, why_alone: str | None
    ) -> None:
        """Ask for what the plan wants, give up what it does not want any more, and record what was granted.

        Raises: Misconfigured where the broker refuses every topic; BrokerAway, DatabaseAway.
        """
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
        await self._sessions.connected(stored, connected, granted, self._clock(), note, plan.hidden)
        self._say_what_is_missing(granted)
        log.info("integration %s: slot %d connected, MQTT %s", plan.name, plan.slot, connected.protocol)

    def _say_what_is_missing(self, granted: list[Granted]) -> None:
        refused = [one for one in granted if one.qos is None]
        for one in granted:
            if not one.qos:
                why = one.reason if one.qos is None else "granted at QoS 0: what it brings may be lost"
                topic = self._plan.hidden(one.topic_filter)
                log.warning("integration %s: the topic %s: %s", self._plan.name, topic, why)
        if len(refused) == len(granted) and not self._plan.retiring:
            raise Misconfigured("the broker refused every topic: " + "; ".join(one.reason for one in refused))


def _needs_no_subscribe(connected: Connected, stored: StoredSession, wanted: list[Subscription]) -> bool:
    """Return whether the session has these subscriptions, and asking again would bring what is retained again.

    MQTT 5 has a word for that (retain handling 1). Shared ones, which bring nothing that is retained, are asked for.
    """
    filters = {one.topic_filter for one in wanted}
    shared = any(one.startswith("$share/") for one in filters)
    as_before = connected.session_present and filters == set(stored.subscriptions)
    return connected.protocol == "3.1.1" and as_before and not shared
