"""From what came in to what is committed, wired: what every side of the service shares."""

import logging
import random
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from handlers.events import SECOND
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.egress.files import Files
from ingest.egress.gate import Egress
from ingest.errors import DatabaseAway, Misconfigured
from ingest.http.metrics import Measured
from ingest.jobs.schedule import LeasedSchedule
from ingest.pipeline.batches import Batches
from ingest.pipeline.committer import Committer
from ingest.pipeline.field_error_writer import FieldErrorWriter
from ingest.pipeline.field_errors import FieldErrors
from ingest.pipeline.intake import Intake
from ingest.pipeline.open_batch import Counts
from ingest.pipeline.rejections import Rejections
from ingest.pipeline.watchdog import Watchdog
from ingest.settings import Settings
from ingest.store.commit.apply import Applier
from ingest.store.commit.field_errors import FieldErrorRows
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.commit.sessions import Sessions
from ingest.store.commit.unknown_devices import UnknownDeviceFilter
from ingest.store.config.integrations import IntegrationRows
from ingest.store.database_url import connectable
from ingest.store.errors import DATABASE_ERRORS, translated, unusable

log = logging.getLogger(__name__)


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
    watchdog: Watchdog
    egress: Egress
    files: Files
    field_errors: FieldErrorWriter

    @classmethod
    def of(cls, settings: Settings, pool: asyncpg.Pool) -> "Pipeline":
        """Wire it."""
        jitter, measured, identities = random.Random(), Measured(), Identities(pool)
        names: dict[UUID, str] = {}
        field_errors = FieldErrors(identities.of)
        counts = Counts(rejections=Rejections(names, field_errors))
        intake = Intake(counts, max_batch=settings.max_batch)
        resolution = int(settings.presence_resolution_s * SECOND)
        applier = Applier(pool, presence_resolution=resolution)
        parking = Parking(pool, identities, applier)
        batches = Batches(identities, parking, UnknownDeviceFilter(pool, identities, parking))
        committer = Committer(intake, applier, batches, counts, jitter=jitter, observe=measured.commit)
        keyring = Keyring.from_setting(settings.keys)
        rows = IntegrationRows(pool, settings.direct_url, names=names)
        writer = FieldErrorWriter(field_errors, FieldErrorRows(pool), jitter)
        return cls(
            settings, pool, keyring, jitter, StrictClock(), measured, intake, parking, committer,
            Sessions(pool), rows, Watchdog(intake, committer), Egress(settings.networks), Files(settings.files),
            writer,
        )  # fmt: skip

    def outage(self) -> str | None:
        """Return why the database cannot be written now, if so."""
        return self.committer.outage or self.watchdog.stuck()

    def schedule(self, lease: str, holder: str, every_s: float, *, terms: int = 3) -> LeasedSchedule:
        """Return the turns of work that one replica does every so often, and keeps for so many of its periods."""
        return LeasedSchedule(self.sessions, lease, holder, self.jitter, every_s, every_s * terms)

    def say_goodbye(self) -> None:
        """Log what was done."""
        counts = self.intake.counts
        told = "stopped: %d received, %d committed in %d commits"
        log.info(told, counts.received, counts.committed, counts.commits)


async def _as_it_is(connection: object) -> None:
    """Leave a released connection alone: what is set is set for a transaction; a reset costs a round trip a commit."""


async def open_pool(settings: Settings, *, least: int = 1, most: int = 6) -> asyncpg.Pool:
    """Connect to Postgres with `least` to `most` connections.

    Behind a transaction pooler (a direct URL is set) no statement is prepared by name.

    Raises: DatabaseAway, Misconfigured.
    """
    database = connectable(settings.database_url)
    cache = 0 if settings.database_direct_url else 100
    try:
        return await asyncpg.create_pool(
            database.url,
            min_size=least,
            max_size=most,
            timeout=database.timeout_s(10),
            command_timeout=30,
            statement_cache_size=cache,
            reset=_as_it_is,
            server_settings={"application_name": "rollcall"},  # a pgbouncer refuses others
        )
    except ValueError as error:
        raise Misconfigured(unusable(error)) from None
    except DATABASE_ERRORS as error:
        raise DatabaseAway(str(translated(error))) from error
