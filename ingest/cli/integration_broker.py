"""The broker of an mqtt integration, met by the command line: tried, and made to forget our sessions."""

import os
from dataclasses import replace
from uuid import UUID

from handlers.topics import Topics
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integration_settings import MqttSettings, mqtt_settings
from ingest.mqtt.auto import open_connection
from ingest.mqtt.clock import StrictClock
from ingest.mqtt.port import Broker, Subscription, Tls
from ingest.planner import client_id, password_of
from ingest.settings import Settings
from ingest.store import admin
from ingest.store.session import Row, session


async def tried(settings: Settings, name: str, slug: str | None) -> Row:
    """Connect and subscribe under a client id of our own, and return what was granted.

    Raises: Misconfigured, BrokerAway.
    """
    _, mqtt, broker = await _stored(settings, name, slug)
    connection, connected = await open_connection(mqtt.protocol, broker, StrictClock())
    try:
        filters = Topics.parse(mqtt.topics).filters()
        granted = await connection.subscribe([Subscription(topic_filter) for topic_filter in filters])
    finally:
        await connection.close()
    return {
        "broker": f"{mqtt.host}:{mqtt.port}",
        "protocol": connected.protocol,
        **{g.topic_filter: f"granted, QoS {g.qos}" if g.qos is not None else g.reason for g in granted},
    }


async def forgotten(settings: Settings, name: str, slug: str | None) -> None:
    """Open each of an integration's sessions clean, so that the broker drops what it has of it, and close it."""
    identifier, mqtt, broker = await _stored(settings, name, slug)
    async with session(settings.database_url) as connection:
        secret, known = await admin.sessions_of(connection, identifier)
    slots = [client_id(mqtt, identifier, secret, slot) for slot in range(mqtt.slots)]
    for one in sorted({*known, *slots}):
        opened, _ = await open_connection(mqtt.protocol, replace(broker, client_id=one), StrictClock())
        await opened.close()


async def _stored(settings: Settings, name: str, slug: str | None) -> tuple[UUID, MqttSettings, Broker]:
    """Return an mqtt integration's id, its settings, and its broker under a client id of this command's own."""
    async with session(settings.database_url) as connection:
        row = await admin.integration(connection, name, slug)
    if row["type"] != "mqtt":
        raise Misconfigured(f"integration {name!r} is of type {row['type']}: this can only be done with mqtt")
    mqtt = mqtt_settings(row["settings"], name)
    if mqtt.protocol == "jetstream":
        told = "it has no MQTT session. The log says how it is; its consumers are removed with `nats consumer rm`"
        raise Misconfigured(f"integration {name!r} reads a JetStream: {told} (docs/nats.md)")
    return row["id"], mqtt, _broker(mqtt, Keyring.from_setting(settings.keys), row["id"], name)


def _broker(mqtt: MqttSettings, keyring: Keyring, identifier: UUID, name: str) -> Broker:
    return Broker(
        host=mqtt.host,
        port=mqtt.port,
        client_id=f"{mqtt.client_id}-test-{os.getpid()}",
        username=mqtt.username,
        password=password_of(mqtt, keyring, identifier, name),
        tls=Tls(**mqtt.tls.model_dump()) if mqtt.tls else None,
        clean_start=True,
        session_expiry_s=0,
    )
