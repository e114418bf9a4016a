"""Does the broker serve shared subscriptions? Tried once: some take `$share/...` for a topic like any other.

Source: MQTT 5, 4.8.2 (shared subscriptions), 3.2.2.3.13 (CONNACK may deny them); MQTT 3.1.1 does not know them.
"""

import asyncio
from dataclasses import replace
from uuid import uuid4

from ingest.errors import BrokerRefused
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Broker, Clock, Connection, Subscription

WITHIN_S = 5.0
"""From the PUBACK of the message until it has come back."""


async def why_unshareable(
    protocol: str, broker: Broker, clock: Clock, within_s: float = WITHIN_S, *, below: str
) -> str | None:
    """Send one message through a shared subscription; return None once it came, or in words why it cannot be.

    `below`: where its topic lies.

    It is a short connection of its own: on the session's it would wait behind all that the broker holds.
    Raises: BrokerAway when the connection fails, which says nothing about shared subscriptions.
    """
    name = uuid4().hex[:12]
    own = replace(broker, client_id=f"{broker.client_id}-{name}", clean_start=True, session_expiry_s=0)
    connection, connected = await open_connection(protocol, own, clock)
    try:
        if not connected.shares:
            return "the broker says that it has no shared subscriptions"
        return await _tried(connection, name, f"{below}/shared/{name}", within_s)
    finally:
        await connection.close()


async def _tried(connection: Connection, group: str, topic: str, within_s: float) -> str | None:
    (granted,) = await connection.subscribe([Subscription(f"$share/{group}/{topic}")])
    if granted.qos is None:
        return f"the broker refuses a shared subscription: {granted.reason}"
    try:
        await connection.publish(topic, b"shared")
    except BrokerRefused as refused:
        return f"shared subscriptions cannot be tried: {refused}"
    try:
        async with asyncio.timeout(within_s):
            await connection.receive()
    except TimeoutError:
        return f"nothing came through a shared subscription within {within_s:g} s"
    return None
