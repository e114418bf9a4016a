"""A run from its first page to its last push. Each phase is begun where the last process left it."""

import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg

from handlers.events import Micros
from ingest.errors import Declined, Misconfigured, ProviderAway, Refused, RollcallError
from ingest.mqtt.port import Clock
from ingest.providers.port import Provider
from ingest.reconcile.chunks import CHUNK, Applied, Chunk, Chunks
from ingest.reconcile.differences import Difference
from ingest.reconcile.guard import doubt
from ingest.reconcile.pages import Pages
from ingest.reconcile.plan import Plan
from ingest.reconcile.pushes import MAX_PUSHES, Pushes
from ingest.reconcile.runs import Run, Runs, Status
from ingest.reconcile.staging import Staged, Staging
from ingest.reconcile.unchanged import UnchangedEntries
from ingest.store.commit.apply import Applier
from ingest.store.commit.identity import Identities
from ingest.store.commit.parking import Parking
from ingest.store.people.artifacts import sync_artifacts
from ingest.tasks import background_task

SETTLED_AT_ONCE = 2
MAX_DIFFERENCES = 100_000
PROVIDER_ERRORS = (ProviderAway, Misconfigured, Declined)


class Progress(NamedTuple):
    """How far a run is. `total` is None where nobody knows it yet."""

    run: Run
    done: int
    total: int | None


class Options(NamedTuple):
    """What a person may ask of a run. `full`: begin anew where a crash has left a run."""

    dry_run: bool = False
    full: bool = False
    accept_missing: bool = False


@dataclass(slots=True)
class Outcome:
    """A run that ended. `differences` are a dry run's; `error` is why it failed or is incomplete, where it is."""

    run: Run
    differences: list[Difference] = field(default_factory=list)
    error: RollcallError | None = None


def ignore_progress(progress: Progress) -> None:
    """Show progress to nobody."""


class Phases:
    """Carries out one run. Methods raise DatabaseAway and RunLost: then the run is resumed by another."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        run: Run,
        runs: Runs,
        plan: Plan,
        provider: Provider,
        clock: Clock,
        jitter: random.Random,
        *,
        presence_resolution: Micros = 0,
        show: Callable[[Progress], None] = ignore_progress,
    ) -> None:
        updatable = provider.capabilities.updatable if provider.capabilities.supports_update else frozenset()
        self._pool = pool
        self._run = run
        self._plan = plan
        self._runs = runs
        self._provider = provider
        self._clock = clock
        self._show = show
        self._staging = Staging(pool, runs)
        tells_connections = provider.capabilities.reports_connection_state
        self._chunks = Chunks(
            pool, runs, plan, updatable, jitter, tells_connections=tells_connections,
            presence_resolution=presence_resolution,
        )  # fmt: skip
        self._unchanged = UnchangedEntries(
            pool,
            runs,
            plan,
            jitter,
            tells_connections=tells_connections,
            presence_resolution=presence_resolution,
        )
        self._pushes = Pushes(pool, runs, provider)
        self._outcome = Outcome(run)

    async def carry_out(self, options: Options) -> Outcome:
        """Do what is left to do, and finish the run."""
        run, outcome = self._run, self._outcome
        if run.phase == "listing":
            try:
                await self._list()
            except PROVIDER_ERRORS as error:
                outcome.error = error
                if not run.listed:
                    await self._runs.finish(run, "failed", str(error))
                    return outcome
                run.complete = False
                run.detail = f"the listing ended early, what it had is applied: {error}"
            run.phase = "listed"
        if run.phase == "listed" and not await self._believed(options):
            return outcome
        await self._push(await self._apply())
        if not run.dry_run:
            await self._adopt()
            await self._sync_artifacts()
        await self._note_hearing()
        status: Status = "dry" if run.dry_run else "done" if run.complete else "incomplete"
        await self._runs.finish(run, status)
        return outcome

    async def _note_hearing(self) -> None:
        """Let the sweep know how far a provider that tells no connection state was heard: only it needs silences."""
        run, plan = self._run, self._plan
        if run.complete and not run.dry_run and not self._provider.capabilities.reports_connection_state:
            await self._runs.heard(run, plan.dating.lag, plan.fresh_for)

    async def _list(self) -> None:
        resumed, listed = self._run.cursor is not None, self._run.listed
        try:
            await self._stage()
        except Declined:
            if not resumed or self._run.listed > listed:
                raise
            await self._staging.clear(self._run)  # the cursor has expired
            await self._stage()

    async def _stage(self) -> None:
        pages = Pages(self._provider.list_devices(self._run.cursor), self._clock)
        async with contextlib.aclosing(pages.groups()) as groups:
            async for group in groups:
                for page, _ in group:
                    for problem in page.problems:
                        self._run.note(f"an entry of the listing: {problem.field} {problem.error}")
                await self._staging.add(self._run, group, self._plan.dating)
                self._show(Progress(self._run, self._run.listed, group[-1].page.total))

    async def _believed(self, options: Options) -> bool:
        """Let the guards look at the whole listing."""
        run = self._run
        coverage = await self._staging.coverage(run)
        why = doubt(coverage) if run.complete and not options.accept_missing else None
        await self._staging.count(run, coverage, believed=why is None)
        if why is not None:
            await self._runs.finish(run, "stopped", why)
        return why is None

    async def _apply(self) -> Applied:
        run, all_of_it = self._run, Applied()
        done = await self._settle()
        staged, chunk = await self._next(0)
        while staged:
            async with background_task(self._next(staged[-1].id)) as following:
                all_of_it.add(await self._chunks.apply(run, staged, chunk))
                done += len(staged)
                staged, chunk = await following
            del all_of_it.pushes[MAX_PUSHES:], all_of_it.differences[MAX_DIFFERENCES:]
            self._show(Progress(run, done, run.listed))
        return all_of_it

    async def _settle(self) -> int:
        """Apply without decoding what can be; return how many that was. A dry run decodes all, to compare the rows."""
        run, done = self._run, 0
        windows = iter(()) if run.dry_run else await self._unchanged.windows(run)
        while pair := tuple(itertools.islice(windows, SETTLED_AT_ONCE)):
            done += await self._unchanged.apply(run, pair)
            self._show(Progress(run, done, run.listed))
        return done

    async def _next(self, after: int) -> tuple[list[Staged], Chunk | None]:
        """Read and decode the next chunk; the last is being committed meanwhile."""
        staged = await self._staging.read(self._run.id, after, CHUNK)
        return staged, await self._chunks.prepare(self._run, staged) if staged else None

    async def _push(self, applied: Applied) -> None:
        run = self._run
        if run.dry_run:
            self._outcome.differences = applied.differences
            return
        run.phase = "pushing"
        await self._pushes.send(run, applied.pushes)

    async def _sync_artifacts(self) -> None:
        """Take over the firmware images that the provider holds; without them the run is none the worse."""
        try:
            await sync_artifacts(self._pool, self._plan.integration_id, self._provider)
        except (*PROVIDER_ERRORS, Refused) as error:
            self._run.note(f"its firmware images: {error}")

    async def _adopt(self) -> None:
        """Give what is parked to devices that have a row by now."""
        identities = Identities(self._pool, reported=self._runs.reported)
        parking = Parking(self._pool, identities, Applier(self._pool))
        try:
            await parking.adopt(self._plan.integration_id, self._plan.offline_after)
        except Refused as refused:
            self._run.note(f"parked devices wait: {refused}")
