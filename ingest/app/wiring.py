"""The ways in, wired: the sessions with the brokers, and HTTP."""

from collections.abc import Callable
from uuid import UUID

from ingest.app.lazy_api import LazyApi
from ingest.app.pipeline import Pipeline
from ingest.http.health import Status
from ingest.http.metrics import Metrics
from ingest.http.peers import Peers
from ingest.http.server import Http, application
from ingest.integrations.catalog import Catalog
from ingest.integrations.planner import Planner
from ingest.sessions.supervisor import Integrations
from ingest.store.commit.webhook_events import WebhookEvents
from ingest.store.people.health import HealthRows
from ingest.webhooks.claims import Claims
from ingest.webhooks.hooks import HookReader, Hooks
from ingest.webhooks.route import Webhooks
from ingest.webhooks.sns import Signatures
from ingest.webhooks.submissions import Submissions


def build_mqtt(pipeline: Pipeline, catalog: Catalog, holder: str) -> Integrations:
    """Wire the sessions with the brokers."""
    planner = Planner(pipeline.settings, pipeline.keyring, pipeline.egress, pipeline.files)
    is_on = pipeline.settings.mqtt == "on"
    view = catalog.view(lambda row: is_on and row.integration_type == "mqtt", planner.plan)
    return Integrations(view, pipeline.sessions, pipeline.intake, pipeline.clock, holder, pipeline.jitter)


def build_http(
    pipeline: Pipeline,
    catalog: Catalog,
    mqtt: Integrations,
    signatures: Signatures,
    platform: LazyApi,
    bound: Callable[[int], None],
) -> tuple[Hooks, Http]:
    """Wire the webhooks and the pages about the process's health before the platform's API."""
    settings, pool, intake, jitter = pipeline.settings, pipeline.pool, pipeline.intake, pipeline.jitter
    reader = HookReader(settings, pipeline.keyring, signatures)
    is_on = settings.http == "on"
    hooks = Hooks(catalog.view(lambda row: is_on and row.webhook_enabled, reader.read))
    submissions = Submissions(intake, Claims(WebhookEvents(pool)), pipeline.outage, jitter)
    rejections = intake.counts.rejections

    def observe(route: str, integration_id: UUID | None, status: int, seconds: float) -> None:
        pipeline.measured.webhook(route, integration_id, status, seconds)
        rejections.answer(integration_id, status)

    webhooks = Webhooks(hooks, submissions, signatures, pipeline.clock, observe)
    status = Status(
        HealthRows(pool), pipeline.outage, lambda: mqtt.sessions, lambda: mqtt.misconfigured,
        lambda: mqtt.slots, pipeline.watchdog.oldest, pipeline.clock, platform.readable,
    )  # fmt: skip
    metrics = Metrics(intake, pipeline.measured, status)
    app = application(webhooks, status, metrics, platform, settings.proxies)
    dropped = pipeline.measured.connection_dropped
    peers = Peers(settings.http_connections, settings.http_connections_each, dropped)
    return hooks, Http(app, settings.http_host, settings.http_port, bound, peers)
