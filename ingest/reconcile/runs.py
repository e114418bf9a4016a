"""The rows of rollcall.reconcile_runs: one a run, moved on in the transaction of what it counts.

Each statement names the holder, so that a process that has lost its run without noticing cannot write any more.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import orjson

from handlers.events import SECOND, Micros
from handlers.text import truncate
from ingest.errors import DatabaseAway
from ingest.store.commit.identity import ReportedConflict
from ingest.store.commit.timeline import record
from ingest.store.errors import acquired
from ingest.store.queries import queries

Connection = Any
Status = Literal["running", "done", "incomplete", "stopped", "failed", "dry"]
Phase = Literal["listing", "listed", "applying", "pushing"]
COUNTED = (
    "listed",
    "matched",
    "created",
    "changed",
    "unchanged",
    "unknown",
    "missing",
    "conflicts",
    "pushed",
)
MAX_ERRORS = 20
MAX_TEXT = 500
RESUMED_WITHIN_S = 3600.0
"""A run that has not moved for longer begins anew: its listing is too old to be worth anything."""


@dataclass(slots=True)
class Run:
    """A run as its row says it is. `errors` are texts without secrets; `more_errors` were one too many."""

    id: UUID
    integration_id: UUID
    trigger: str
    status: Status
    phase: Phase
    dry_run: bool
    complete: bool
    holder: str
    cursor: str | None
    started_at: datetime
    finished_at: datetime | None = None
    listed: int = 0
    matched: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    unknown: int = 0
    missing: int = 0
    conflicts: int = 0
    pushed: int = 0
    detail: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float | None:
        """How long it took; None while it runs."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None

    @property
    def counts(self) -> dict[str, int]:
        """What it did, by name."""
        return {name: getattr(self, name) for name in COUNTED}

    def note(self, error: str) -> None:
        """Keep an error's text; past the bound only that there are more."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(truncate(error, MAX_TEXT))
        elif len(self.errors) == MAX_ERRORS:
            self.errors.append("and more")


class RunLost(DatabaseAway):
    """Another process has taken the run over, or it was abandoned: stop."""


class Runs:
    """Starts, moves and finishes runs. Methods raise DatabaseAway.

    `reported` are the clashes of keys that runs before have told already, where the caller remembers them.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        holder: str,
        *,
        reported: set[ReportedConflict] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.reported = set() if reported is None else reported
        self._pool = pool
        self._holder = holder
        self._timeout_s = timeout_s

    async def begin(self, integration_id: UUID, trigger: str, *, dry_run: bool, anew: bool) -> Run:
        """Return the run that a crash has left, or a new one. The caller holds the integration's lease."""
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            left = None
            for row in await connection.fetch(queries()["unfinished_runs"], integration_id, RESUMED_WITHIN_S):
                resumable = left is None and row["is_fresh"] and not row["dry_run"] and not anew
                if resumable or (dry_run and not row["dry_run"]):
                    left = left or row
                else:
                    await self._abandon(connection, row["id"])
            if left is not None and not dry_run:
                return _run(await connection.fetchrow(queries()["take_run_over"], left["id"], self._holder))
            values = uuid4(), integration_id, trigger, dry_run, self._holder
            return _run(await connection.fetchrow(queries()["start_run"], *values))

    async def _abandon(self, connection: Connection, run_id: UUID) -> None:
        await connection.execute(queries()["unstage"], run_id)
        taken = await connection.fetchrow(queries()["take_run_over"], run_id, self._holder)
        detail = "abandoned: its process ended, and a new run began"
        await connection.execute(
            queries()["finish_run"], run_id, self._holder, "failed", detail, taken["errors"]
        )

    async def move(self, connection: Connection, run: Run, **counted: int) -> None:
        """Write where the run is, and add to its counts, in the connection's transaction. Raises: RunLost."""
        added = [counted.get(name, 0) for name in COUNTED]
        row = await connection.fetchrow(
            queries()["move_run"], run.id, self._holder, run.phase, run.cursor, run.complete, *added,
            run.detail, orjson.dumps(run.errors).decode(),
        )  # fmt: skip
        if row is None:
            raise RunLost("another process has taken this run over")
        for name in COUNTED:
            setattr(run, name, row[name])

    async def heard(self, run: Run, lag: Micros, fresh_for: Micros) -> None:
        """Note that the devices were heard of until `lag` before the run: from then on silence may count."""
        until = int(run.started_at.timestamp() * SECOND) - lag
        async with acquired(self._pool, self._timeout_s) as connection:
            await connection.execute(queries()["listing_heard"], run.integration_id, until, fresh_for)

    async def finish(self, run: Run, status: Status, detail: str = "") -> None:
        """End the run, drop what it staged, and write the timeline of its integration. Raises: RunLost."""
        run.detail = truncate(detail or run.detail, MAX_TEXT)
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            errors = orjson.dumps(run.errors).decode()
            row = await connection.fetchrow(
                queries()["finish_run"], run.id, self._holder, status, run.detail, errors
            )
            if row is None:
                raise RunLost("another process has taken this run over")
            run.status, run.finished_at = row["status"], row["finished_at"]
            await connection.execute(queries()["unstage"], run.id)
            told = {"run": str(run.id), "status": status, "trigger": run.trigger}
            told |= {name: str(count) for name, count in run.counts.items() if count}
            if not run.dry_run:
                await record(connection, "reconciled", [run.integration_id], told, source="reconcile")


def _run(row: asyncpg.Record) -> Run:
    values = {one.name: row[one.name] for one in fields(Run)}
    return Run(**{**values, "errors": orjson.loads(row["errors"])})
