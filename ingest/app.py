"""The composition root: start reading here. Every part gets what it needs from `serve`, and nothing is global."""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import asyncpg

from handlers.events import SECOND
from ingest.crypto import Keyring
from ingest.errors import DatabaseAway, RollcallError
from ingest.housekeeping import Housekeeping
from ingest.integrations import Integrations, Planner
from ingest.mqtt.clock import StrictClock
from ingest.pipeline.committer import Committer
from ingest.pipeline.intake import Intake
from ingest.pipeline.pile import Counts
from ingest.reconcile.reconciler import Reconciler
from ingest.settings import Settings
from ingest.store.apply import Applier
from ingest.store.identity import Identities
from ingest.store.integrations import IntegrationRows
from ingest.store.parking import Parking
from ingest.store.refusals import DATABASE_ERRORS, translated
from ingest.store.retention import Retention
from ingest.store.sessions import Sessions
from ingest.store.silences import Silences
from ingest.sweep import Sweep

log = logging.getLogger(__name__)

STOP_WITHIN_S = 4.0


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then stop reading, commit and acknowledge what is in hand, disconnect.

    Raises: DatabaseAway when the database cannot be reached at the start; Misconfigured.
    """
    pool = await open_pool(settings)
    holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
    jitter = random.Random()
    counts = Counts()
    clock = StrictClock()
    intake = Intake(counts, max_batch=settings.max_batch)
    resolution = int(settings.presence_resolution_s * SECOND)
    applier = Applier(pool, presence_resolution=resolution)
    identities = Identities(pool)
    parking = Parking(pool, identities, applier)
    sessions = Sessions(pool)
    committer = Committer(intake, applier, identities, parking, counts, jitter=jitter)
    planner = Planner(settings, Keyring.from_setting(settings.keys))
    integrations = Integrations(
        IntegrationRows(pool, settings.direct_url), sessions, parking, planner, intake, clock, holder, jitter
    )
    sweep = Sweep(Silences(pool), sessions, clock, settings, holder)
    housekeeping = Housekeeping(Retention(pool), sessions, holder)
    reconciler = Reconciler(pool, settings, planner.keyring, clock, holder, jitter)
    committing = asyncio.create_task(committer.run(), name="committer")
    watching = [
        asyncio.create_task(part.run(), name=type(part).__name__)
        for part in (integrations, sweep, housekeeping, reconciler)
    ]
    try:
        await _until_stopped(stop, [committing, *watching])
    finally:
        await _bounded(integrations.stop(), STOP_WITHIN_S)
        for task in [*watching, committing]:
            task.cancel()
        await asyncio.gather(committing, *watching, return_exceptions=True)
        await _bounded(pool.close(), 1.0)
        pool.terminate()
    log.info(
        "stopped: %d received, %d committed in %d commits", counts.received, counts.committed, counts.commits
    )


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


async def _bounded(work: Coroutine[Any, Any, None], seconds: float) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("stopping took longer than %s s: what was not acknowledged will come again", seconds)
