"""The part that reconciles: at the start, every so often, after a lost session, on demand; once over all replicas."""

import asyncio
import logging
import random
import time
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID, uuid4

import asyncpg

from handlers.events import SECOND
from ingest.crypto import Keyring
from ingest.egress.gate import Egress
from ingest.errors import Misconfigured, Refused, RollcallError, RunUnderWay
from ingest.mqtt.port import Clock
from ingest.providers.retry import Limits
from ingest.reconcile.keys import upgrade
from ingest.reconcile.lease import Lease
from ingest.reconcile.phases import Options, Outcome, Phases, Progress, ignore_progress
from ingest.reconcile.plan import plan_of, provider_of
from ingest.reconcile.rows import LISTING_TYPES, LastRun, Listing, Listings
from ingest.reconcile.runs import Run, Runs
from ingest.settings import Settings
from ingest.store.commit.identity import ReportedConflict
from ingest.store.commit.sessions import Sessions
from ingest.store.config.integrations import IntegrationRow

Result = TypeVar("Result")
Observe = Callable[[str, str, Mapping[str, int]], None]
"""Is told the integration's name, the status and the counts of each run that ended."""
log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
SCHEDULED = Options()
MAX_CONCURRENT = 3
"""Runs of one process: a slow provider must not hold up all others."""
SPREAD = 0.1
"""The period varies by this share, so that replicas and integrations do not come all at once."""


class Reconciler:
    """Looks which integrations are due, and reconciles them; `reconcile` does one on demand."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: Settings,
        keyring: Keyring,
        clock: Clock,
        holder: str,
        jitter: random.Random,
        *,
        limits: Limits | None = None,
        look_every_s: float = LOOK_EVERY_S,
        observe: Observe = lambda name, status, counts: None,
        egress: Egress | None = None,
    ) -> None:
        self._egress = egress or Egress(settings.networks)
        self._pool = pool
        self._observe = observe
        self._settings = settings
        self._keyring = keyring
        self._clock = clock
        self._holder = holder
        self._jitter = jitter
        self._limits = limits
        self._look_every_s = look_every_s
        self._listings = Listings(pool)
        self._sessions = Sessions(pool)
        self._began = time.monotonic()
        self._periods_s: dict[UUID, float] = {}
        self._running: set[UUID] = set()
        self._reported: defaultdict[UUID, set[ReportedConflict]] = defaultdict(set)
        self._room = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for last in await self._listings.active():
                        one = last.integration_id
                        if one not in self._running and self._due(last) is not None:
                            self._running.add(one)
                            group.create_task(self._in_turn(one), name=f"reconcile {last.name}")
                except RollcallError as error:
                    log.warning("reconciliation waits: %s", error)
                await asyncio.sleep(self._look_every_s * self._jitter.uniform(1 - SPREAD, 1 + SPREAD))

    async def reconcile(
        self,
        integration_id: UUID,
        options: Options = SCHEDULED,
        *,
        trigger: str = "demand",
        show: Callable[[Progress], None] = ignore_progress,
    ) -> Outcome:
        """Reconcile one integration now, or go on with a run that a crash has left.

        Raises: RunUnderWay, Misconfigured where it is none that can list; DatabaseAway, then the run can be resumed.
        """
        if await self._listings.one(integration_id) is None:
            told = f"{', '.join(LISTING_TYPES)} can list their devices"
            raise Misconfigured(f"the integration {integration_id} cannot be reconciled: {told}")

        async def work(listing: Listing, runs: Runs) -> Outcome:
            return await self._carry_out(listing.row, runs, trigger, options, show)

        return await self._under_lease(integration_id, work)

    async def _under_lease(
        self, integration_id: UUID, work: Callable[[Listing, Runs], Awaitable[Result]]
    ) -> Result:
        """Each run has a holder of its own: two of one process exclude each other, too."""
        holder = f"{self._holder}/{uuid4().hex[:8]}"
        lease = Lease(self._sessions, f"reconcile/{integration_id}", holder, self._settings.lease_ttl_s)

        async def reread() -> Result:
            listing = await self._listings.one(integration_id)
            if listing is None:
                raise Misconfigured(f"the integration {integration_id} is gone")
            runs = Runs(self._pool, holder, reported=self._reported[integration_id])
            return await work(listing, runs)

        return await lease.held(reread)

    async def _in_turn(self, integration_id: UUID) -> None:
        try:
            async with self._room:
                await self._under_lease(integration_id, self._if_still_due)
        except RunUnderWay:
            pass  # another replica has it
        except RollcallError as error:
            log.warning("integration %s: reconciliation is interrupted: %s", integration_id, error)
        except Exception as error:  # of one integration: the others, and the events, must not suffer
            where = "".join(
                traceback.format_tb(error.__traceback__)
            )  # without its text, which may hold anything
            log.error(
                "integration %s: an error in Rollcall: %s\n%s", integration_id, type(error).__name__, where
            )
        finally:
            self._running.discard(integration_id)

    async def _if_still_due(self, listing: Listing, runs: Runs) -> None:
        """Look again under the lease: another replica may just have done it."""
        trigger, row = self._due(listing.last), listing.row
        if trigger is not None:
            every_s = self._settings.reconcile_every_s
            self._periods_s[row.id] = every_s * self._jitter.uniform(1 - SPREAD, 1 + SPREAD)
            _log(row, (await self._carry_out(row, runs, trigger, SCHEDULED, ignore_progress)).run)

    def _due(self, last: LastRun) -> str | None:
        """Return why an integration is to be reconciled now, or None."""
        age_s = last.age_s
        if age_s is None or last.unfinished or age_s > time.monotonic() - self._began:
            return "start"
        if last.session_lost:
            return "session_lost"
        period_s = self._periods_s.get(last.integration_id, self._settings.reconcile_every_s)
        return "period" if age_s >= period_s else None

    async def _carry_out(
        self,
        row: IntegrationRow,
        runs: Runs,
        trigger: str,
        options: Options,
        show: Callable[[Progress], None],
    ) -> Outcome:
        run = await runs.begin(row.id, trigger, dry_run=options.dry_run, anew=options.full)
        outcome = await self._outcome(row, run, runs, options, show)
        self._observe(row.name, run.status, run.counts)
        return outcome

    async def _outcome(
        self, row: IntegrationRow, run: Run, runs: Runs, options: Options, show: Callable[[Progress], None]
    ) -> Outcome:
        try:
            return await self._phases(row, run, runs, options, show)
        except (Misconfigured, Refused) as error:
            await runs.finish(run, "failed", str(error))
            return Outcome(run, error=error)
        except RollcallError:
            raise  # the database is away, or the run is another's: it can be resumed
        except Exception as error:
            await runs.finish(run, "failed", f"{type(error).__name__}: an error in Rollcall, see its log")
            raise

    async def _phases(
        self, row: IntegrationRow, run: Run, runs: Runs, options: Options, show: Callable[[Progress], None]
    ) -> Outcome:
        plan = plan_of(row, self._settings)
        provider = provider_of(row, self._keyring, self._egress, self._limits)
        try:
            if not options.dry_run:
                await upgrade(row, self._listings, self._keyring)
            phases = Phases(
                self._pool, run, runs, plan, provider, self._clock, self._jitter, show=show,
                presence_resolution=int(self._settings.presence_resolution_s * SECOND),
            )  # fmt: skip
            return await phases.carry_out(options)
        finally:
            await provider.aclose()


def _log(row: IntegrationRow, run: Run) -> None:
    told = ", ".join(f"{count} {name}" for name, count in run.counts.items() if count)
    level = logging.INFO if run.status == "done" else logging.WARNING
    detail = f": {run.detail}" if run.detail else ""
    log.log(level, "integration %s: reconciliation %s: %s%s", row.name, run.status, told or "nothing", detail)
