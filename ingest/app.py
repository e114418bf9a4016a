"""The composition root: start reading here. Every part gets what it needs from `serve`, and nothing is global."""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import asyncpg
import httpx

from handlers.events import SECOND
from ingest.crypto import Keyring
from ingest.errors import DatabaseAway, Misconfigured, RollcallError
from ingest.housekeeping import Housekeeping
from ingest.http import Http, application
from ingest.integrations import Integrations, Planner
from ingest.metrics import Measured, Metrics
from ingest.mqtt.clock import StrictClock
from ingest.pipeline.committer import Committer
from ingest.pipeline.intake import Intake
from ingest.pipeline.pile import Counts
from ingest.reconcile.reconciler import Reconciler
from ingest.settings import Settings
from ingest.status import Status
from ingest.store.apply import Applier
from ingest.store.health import HealthRows
from ingest.store.identity import Identities
from ingest.store.integrations import IntegrationRows
from ingest.store.parking import Parking
from ingest.store.refusals import DATABASE_ERRORS, translated
from ingest.store.retention import Retention
from ingest.store.sessions import Sessions
from ingest.store.silences import Silences
from ingest.store.webhook_events import WebhookEvents
from ingest.store.webhook_rows import WebhookRows
from ingest.sweep import Sweep
from ingest.webhooks.claims import Claims
from ingest.webhooks.hooks import HookReader, Hooks
from ingest.webhooks.route import Webhooks
from ingest.webhooks.sns import Signatures

log = logging.getLogger(__name__)

STOP_WITHIN_S = 4.0


class Part(Protocol):
    """What runs beside the committer, for ever."""

    async def run(self) -> None:
        """Run until cancelled."""


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    bound: Callable[[int], None] = lambda port: None,
    amazon: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Run until `stop` is set; then stop reading, commit and acknowledge what is in hand, disconnect.

    `bound` is told the HTTP port; `amazon` is another way to Amazon's hosts.
    Raises: DatabaseAway when the database cannot be reached at the start; Misconfigured.
    """
    if "on" not in (settings.mqtt, settings.http):
        raise Misconfigured("ROLLCALL_MQTT and ROLLCALL_HTTP are both off: set one of them to on")
    async with contextlib.AsyncExitStack() as closing:
        pool = await open_pool(settings)
        closing.push_async_callback(_close, pool)
        client = await closing.enter_async_context(httpx.AsyncClient(transport=amazon))
        pipeline = Pipeline.of(settings, pool)
        holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        mqtt = mqtt_side(pipeline, holder)
        hooks, http = http_side(pipeline, mqtt, client, bound)
        parts: list[Part] = [
            Sweep(Silences(pool), pipeline.sessions, pipeline.clock, settings, holder),
            Housekeeping(Retention(pool), pipeline.sessions, holder),
            Reconciler(
                pool,
                settings,
                pipeline.keyring,
                pipeline.clock,
                holder,
                pipeline.jitter,
                observe=pipeline.measured.run,
            ),
        ]
        parts += [mqtt] if settings.mqtt == "on" else []
        parts += [hooks, http] if settings.http == "on" else []
        committing = asyncio.create_task(pipeline.committer.run(), name="committer")
        watching = [asyncio.create_task(part.run(), name=type(part).__name__) for part in parts]
        try:
            await _until_stopped(stop, [committing, *watching])
        finally:
            await _bounded(_stopped(mqtt, http if http in parts else None), STOP_WITHIN_S)
            for task in [*watching, committing]:
                task.cancel()
            await asyncio.gather(committing, *watching, return_exceptions=True)
        pipeline.say_goodbye()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What both sides share: from what came in to what is committed."""

    settings: Settings
    pool: asyncpg.Pool
    keyring: Keyring
    jitter: random.Random
    clock: StrictClock
    measured: Measured
    intake: Intake
    parking: Parking
    committer: Committer
    sessions: Sessions
    rows: IntegrationRows

    @classmethod
    def of(cls, settings: Settings, pool: asyncpg.Pool) -> "Pipeline":
        """Wire it."""
        jitter, measured, counts = random.Random(), Measured(), Counts()
        intake = Intake(counts, max_batch=settings.max_batch)
        applier = Applier(pool, presence_resolution=int(settings.presence_resolution_s * SECOND))
        identities = Identities(pool)
        parking = Parking(pool, identities, applier)
        committer = Committer(
            intake, applier, identities, parking, counts, jitter=jitter, observe=measured.commit
        )
        keyring = Keyring.from_setting(settings.keys)
        rows = IntegrationRows(pool, settings.direct_url)
        return cls(
            settings, pool, keyring, jitter, StrictClock(), measured, intake, parking, committer,
            Sessions(pool), rows,
        )  # fmt: skip

    def outage(self) -> str | None:
        """Return why the database cannot be written now, if so."""
        return self.committer.outage

    def say_goodbye(self) -> None:
        """Log what was done."""
        counts = self.intake.counts
        told = "stopped: %d received, %d committed in %d commits"
        log.info(told, counts.received, counts.committed, counts.commits)


def mqtt_side(pipeline: Pipeline, holder: str) -> Integrations:
    """Wire the sessions with the brokers."""
    planner = Planner(pipeline.settings, pipeline.keyring)
    return Integrations(
        pipeline.rows, pipeline.sessions, pipeline.parking, planner, pipeline.intake, pipeline.clock,
        holder, pipeline.jitter,
    )  # fmt: skip


def http_side(
    pipeline: Pipeline, mqtt: Integrations, client: httpx.AsyncClient, bound: Callable[[int], None]
) -> tuple[Hooks, Http]:
    """Wire the webhooks and the pages about the process's health."""
    settings, pool, intake, jitter = pipeline.settings, pipeline.pool, pipeline.intake, pipeline.jitter
    signatures = Signatures(client)
    reader = HookReader(settings, pipeline.keyring, signatures)
    hooks = Hooks(pipeline.rows, WebhookRows(pool), reader, pipeline.parking, jitter)
    webhooks = Webhooks(
        hooks, intake, Claims(WebhookEvents(pool)), signatures, pipeline.clock, pipeline.outage,
        pipeline.measured.webhook, jitter,
    )  # fmt: skip
    status = Status(HealthRows(pool), pipeline.outage, lambda: mqtt.sessions, pipeline.clock)
    app = application(webhooks, status, Metrics(intake, pipeline.measured, status))
    return hooks, Http(app, settings.http_host, settings.http_port, bound)


async def open_pool(settings: Settings) -> asyncpg.Pool:
    """Connect to Postgres. Behind a transaction pooler (a direct URL is set) no statement is prepared by name.

    Raises: DatabaseAway.
    """
    cache = 0 if settings.database_direct_url else 100
    try:
        return await asyncpg.create_pool(
            settings.database_url,
            min_size=1,
            max_size=6,
            timeout=10,
            command_timeout=30,
            statement_cache_size=cache,
            server_settings={"application_name": "rollcall", "synchronous_commit": "on"},
        )
    except DATABASE_ERRORS as error:
        raise DatabaseAway(str(translated(error))) from error


async def _until_stopped(stop: asyncio.Event, parts: list[asyncio.Task[None]]) -> None:
    stopping = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({stopping, *parts}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done - {stopping}:
        task.result()
        raise RollcallError(f"the {task.get_name()} ended by itself")


async def _stopped(mqtt: Integrations, http: Http | None) -> None:
    """Stop reading on both sides, and wait until what is in hand is answered."""
    await asyncio.gather(mqtt.stop(), *([http.stop()] if http else []))


async def _close(pool: asyncpg.Pool) -> None:
    await _bounded(pool.close(), 1.0)
    pool.terminate()


async def _bounded(work: Coroutine[Any, Any, None], seconds: float) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("stopping took longer than %s s: what was not acknowledged will come again", seconds)
