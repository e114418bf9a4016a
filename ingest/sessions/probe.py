"""A test of a connection to a broker: log in, and see a marker of one's own come back."""

import asyncio
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4

from ingest.errors import BrokerAway, BrokerRefused, Misconfigured
from ingest.integrations.plans import IntegrationPlan, StreamPlan
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Clock, Connection, Granted, Subscription

BACK_WITHIN_S = 5.0


class Probed(NamedTuple):
    """What a broker let us do: the protocol, and its answer to each topic of the integration."""

    protocol: str
    granted: list[Granted]


async def probe(plan: IntegrationPlan, clock: Clock, back_within_s: float = BACK_WITHIN_S) -> Probed:
    """Log in as the integration does, under a client id of its own, and see a marker; the session is not touched.

    Raises: Misconfigured where the marker is refused or does not come back, BrokerAway (BrokerRefused) where we cannot
    log in.
    """
    name = uuid4().hex[:12]
    own = replace(
        plan.broker, client_id=f"{plan.broker.client_id}-test-{name}", clean_start=True, session_expiry_s=0
    )
    if isinstance(plan, StreamPlan):
        from ingest.jetstream.client import probe_cluster  # its library is an extra

        await probe_cluster(own, plan.cluster, back_within_s)
        return Probed("jetstream", [])
    connection, connected = await open_connection(plan.protocol, own, clock)
    try:
        await _see_marker(connection, f"rollcall/{own.client_id}/marker", name.encode(), back_within_s)
        filters = [Subscription(one) for one in (*plan.filters, *plan.shared)]
        return Probed(connected.protocol, await connection.subscribe(filters))
    finally:
        await connection.close()


async def _see_marker(connection: Connection, topic: str, payload: bytes, within_s: float) -> None:
    try:
        (granted,) = await connection.subscribe([Subscription(topic)])
        if granted.qos is None:
            raise Misconfigured(f"logged in, but {topic} may not be read: {granted.reason}")
        await connection.publish(topic, payload)
    except BrokerRefused as refused:
        raise Misconfigured(f"logged in, but nothing may be published to {topic}: {refused}") from None
    try:
        async with asyncio.timeout(within_s):
            while not any(getattr(one, "payload", None) == payload for one in await connection.receive()):
                pass
    except TimeoutError:
        told = f"logged in, but what is published to {topic} does not come back within {within_s:g} s"
        raise Misconfigured(f"{told}: allow it in the broker's ACL") from None
    except BrokerAway as away:
        raise BrokerAway(f"logged in, but the connection ended before the marker came back: {away}") from None
