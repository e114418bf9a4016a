"""The composition root: start reading here. Every part gets what it needs from `serve`, and nothing is global."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import asyncpg

from ingest.app.clock import resume_clock
from ingest.app.lazy_api import LazyApi
from ingest.app.pipeline import Pipeline, open_pool
from ingest.app.wiring import build_http, build_mqtt
from ingest.errors import Misconfigured, RollcallError
from ingest.http.server import Http
from ingest.integrations.catalog import Catalog
from ingest.jobs.outbox import EVERY_S as OUTBOX_EVERY_S
from ingest.jobs.outbox import Outbox
from ingest.jobs.retention import EVERY_S as HOUSEKEEPING_EVERY_S
from ingest.jobs.retention import Housekeeping
from ingest.jobs.sweep import Sweep
from ingest.pipeline.adoption import AdoptingOf, Adoption
from ingest.reconcile.reconciler import Reconciler
from ingest.sessions.supervisor import Integrations
from ingest.settings import Settings
from ingest.store.commit.outbox import Positions
from ingest.store.commit.retention import Retention
from ingest.store.commit.silences import Silences
from ingest.webhooks.sns import Signatures

if TYPE_CHECKING:
    import httpx

__all__ = ["open_pool", "serve"]

log = logging.getLogger(__name__)

STOP_WITHIN_S = 4.0


class Service(Protocol):
    """A part that runs beside the committer until cancelled."""

    async def run(self) -> None:
        """Run until cancelled."""


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    bound: Callable[[int], None] = lambda port: None,
    amazon: "httpx.AsyncBaseTransport | None" = None,
) -> None:
    """Run until `stop` is set; then stop reading, commit and acknowledge what is in hand, disconnect.

    `bound` is called with the HTTP port; `amazon` is another way to Amazon's hosts.
    Raises: DatabaseAway when the database cannot be reached at the start; Misconfigured.
    """
    if "on" not in (settings.mqtt, settings.http):
        raise Misconfigured("ROLLCALL_MQTT and ROLLCALL_HTTP are both off: set one of them to on")
    async with contextlib.AsyncExitStack() as closing:
        pool = await open_pool(settings)
        closing.push_async_callback(_close, pool)
        pipeline = Pipeline.of(settings, pool)
        signatures = Signatures(amazon, pipeline.egress)
        closing.push_async_callback(signatures.aclose)
        await resume_clock(pipeline.clock, pipeline.sessions, settings.max_ahead_s)
        holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        catalog = Catalog(pipeline.rows, pipeline.keyring, pipeline.jitter)
        mqtt = build_mqtt(pipeline, catalog, holder)
        reconciler = Reconciler(
            pool, settings, pipeline.keyring, pipeline.clock, holder, pipeline.jitter,
            observe=pipeline.measured.run, egress=pipeline.egress,
        )  # fmt: skip
        api = LazyApi(pipeline, mqtt, reconciler, holder)
        hooks, http = build_http(pipeline, catalog, mqtt, signatures, api, bound)
        services: list[Service] = [catalog, reconciler, api, pipeline.watchdog, pipeline.field_errors]
        services += _periodic(pipeline, holder)
        adopting: list[AdoptingOf] = []
        if settings.mqtt == "on":
            services.append(mqtt)
            adopting.append(mqtt.adopting)
        if settings.http == "on":
            services.append(http)
            adopting.append(hooks.adopting)
        services.append(Adoption(pipeline.parking, adopting))
        await _run(stop, pipeline, services, mqtt, http if settings.http == "on" else None)
        pipeline.say_goodbye()


def _periodic(pipeline: Pipeline, holder: str) -> list[Service]:
    """Return what one of all replicas does now and then."""
    settings, pool = pipeline.settings, pipeline.pool
    sweeping = pipeline.schedule("sweep", holder, settings.sweep_every_s)
    return [
        Sweep(Silences(pool), pipeline.clock, settings, sweeping),
        Housekeeping(Retention(pool), pipeline.schedule("housekeeping", holder, HOUSEKEEPING_EVERY_S)),
        Outbox(Positions(pool), pipeline.schedule("outbox", holder, OUTBOX_EVERY_S, terms=10)),
    ]


async def _run(
    stop: asyncio.Event,
    pipeline: Pipeline,
    services: list[Service],
    mqtt: Integrations,
    http: Http | None,
) -> None:
    """Run the committer and the services until `stop`; the committer ends last, when all is acknowledged."""
    committing = asyncio.create_task(pipeline.committer.run(), name="committer")
    watching = [asyncio.create_task(one.run(), name=type(one).__name__) for one in services]
    try:
        await _until_stopped(stop, [committing, *watching])
    finally:
        await _bounded(_stopped(mqtt, http), STOP_WITHIN_S)
        for task in [*watching, committing]:
            task.cancel()
        await asyncio.gather(committing, *watching, return_exceptions=True)


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
