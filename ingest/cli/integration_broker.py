"""Commands that talk to the broker of an mqtt integration: test the connection, reset the sessions."""

from dataclasses import replace

from ingest.cli.output import Row
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.planner import Planner
from ingest.integrations.plans import StreamPlan
from ingest.mqtt.auto import open_connection
from ingest.sessions.probe import probe
from ingest.settings import Settings
from ingest.store.config.integrations import IntegrationRow
from ingest.store.people import integrations, organizations
from ingest.store.people.audit import note, operator
from ingest.store.people.session import session


async def test_broker(settings: Settings, name: str, slug: str | None) -> Row:
    """Log in under a client id of our own, see a marker, subscribe, and return what was granted.

    Raises: Misconfigured, BrokerAway.
    """
    planner, row = await _stored(settings, name, slug, "integration.tested")
    plan = planner.plan(row)
    probed = await probe(plan, StrictClock())
    broker = f"{plan.broker.host}:{plan.broker.port}"
    return {
        "broker": ", ".join(plan.cluster.servers) if isinstance(plan, StreamPlan) else broker,
        "protocol": probed.protocol,
        "marker": "came back",
        **{
            grant.topic_filter: f"granted, QoS {grant.qos}" if grant.qos is not None else grant.reason
            for grant in probed.granted
        },
    }


async def reset_sessions(settings: Settings, name: str, slug: str | None) -> None:
    """Open each of an integration's sessions clean, so that the broker drops what it has of it, and close it."""
    planner, row = await _stored(settings, name, slug, "integration.session_reset")
    async with session(settings.database_url) as connection:
        secret, known = await integrations.sessions_of(connection, row.id)
    plan = planner.plan(replace(row, session_secret=secret))
    if isinstance(plan, StreamPlan):
        why = "it has no MQTT session. The log says how it is; its consumers are removed with `nats consumer rm`"
        raise Misconfigured(f"integration {name!r} reads a JetStream: {why} (docs/nats.md)")
    slots = [plan.of(slot).broker.client_id for slot in range(plan.slots)]
    for client_id in sorted({*known, *slots}):
        broker = replace(plan.broker, client_id=client_id, clean_start=True, session_expiry_s=0)
        opened, _ = await open_connection(plan.protocol, broker, StrictClock())
        await opened.close()


async def _stored(
    settings: Settings, name: str, slug: str | None, action: str
) -> tuple[Planner, IntegrationRow]:
    """Return what plans, and an mqtt integration without the secret of its names; the audit names `action`.

    Raises: Misconfigured.
    """
    async with session(settings.database_url) as connection:
        chosen = await organizations.chosen(connection, slug)
        row = await integrations.find(connection, chosen, name)
        await note(connection, row.organization_id, operator(), action, row.id, row.name)
    if row.integration_type != "mqtt":
        raise Misconfigured(
            f"integration {name!r} is of type {row.integration_type}: this can only be done with mqtt"
        )
    found = IntegrationRow(
        row.id, name, row.settings, base_url=row.base_url, operator_address=row.operator_address
    )
    return Planner(settings, Keyring.from_setting(settings.keys)), found
