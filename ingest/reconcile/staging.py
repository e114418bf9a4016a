"""Staging: pages stream in, each with its cursor in one transaction; chunks come out in the order of their ids."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from handlers.events import Micros
from ingest.providers.port import ListedDevice
from ingest.reconcile.guard import Coverage
from ingest.reconcile.listing import Dating, digest_of, from_json, problems_of, to_json
from ingest.reconcile.pages import AskedPage
from ingest.reconcile.runs import Run, Runs
from ingest.store.errors import acquired
from ingest.store.queries import queries

WHOLE_LISTINGS = "set local enable_nestloop = off"
"""Nobody has analyzed what was staged just now: a plan for a few rows would take minutes."""
_COLUMNS = (
    "run_id", "external_id", "serial_number", "listed_at", "device", "digest", "online_at", "offline_at", "battery",
    "battery_at", "signal", "signal_at", "components", "versions", "version_ats",
)  # fmt: skip
_NONE = (None, None, None)


class Staged(NamedTuple):
    """A listed device on its way to the rows. `listed_at` is when its page was asked for."""

    id: int
    device: ListedDevice
    listed_at: Micros
    digest: int | None


class Staging:
    """The rows of rollcall.reconcile_staging. Methods raise DatabaseAway and RunLost."""

    def __init__(self, pool: asyncpg.Pool, runs: Runs, *, timeout_s: float = 60.0) -> None:
        self._pool = pool
        self._runs = runs
        self._timeout_s = timeout_s

    async def add(self, run: Run, group: Sequence[AskedPage], dating: Dating) -> None:
        """Store pages, and that the listing goes on after them; the last one ends the phase."""
        records = [_record(run, one, asked_at, dating) for page, asked_at in group for one in page.devices]
        run.cursor = group[-1].page.cursor
        run.phase = "listed" if run.cursor is None else "listing"
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await self._runs.move(connection, run, listed=len(records))
            if records:
                await connection.copy_records_to_table(
                    "reconcile_staging", schema_name="rollcall", columns=_COLUMNS, records=records
                )

    async def clear(self, run: Run) -> None:
        """Begin the listing anew."""
        run.cursor, run.phase = None, "listing"
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await self._runs.move(connection, run, listed=-run.listed)
            await connection.execute(queries()["unstage"], run.id)

    async def coverage(self, run: Run) -> Coverage:
        """Drop what came twice, and compare the listing with what is known."""
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await connection.execute(WHOLE_LISTINGS)
            await connection.execute(queries()["drop_staged_twice"], run.id)
            row = await connection.fetchrow(queries()["coverage"], run.integration_id, run.id)
        return Coverage(row["listed"], row["known"], row["lost"], row["missing"])

    async def count(self, run: Run, coverage: Coverage, *, believed: bool) -> None:
        """Write what the listing has and misses; one that is believed is remembered, and the applying begins."""
        counted = {"listed": coverage.listed - run.listed, "missing": coverage.missing - run.missing}
        if not run.complete:
            counted["missing"] = 0
        if believed:
            run.phase = "applying"
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await self._runs.move(connection, run, **counted)
            if believed and run.complete and not run.dry_run:
                await connection.execute(WHOLE_LISTINGS)
                await connection.execute(queries()["mark_unlisted"], run.integration_id, run.id)

    async def read(self, run_id: UUID, after: int, limit: int) -> list[Staged]:
        """Return the next devices after a staging id."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["staged"], run_id, after, limit)
        return [
            Staged(number, from_json(form), listed_at, digest) for number, listed_at, form, digest in rows
        ]


def _record(run: Run, device: ListedDevice, listed_at: Micros, dating: Dating) -> tuple[Any, ...]:
    """Return a row of staging. What stands beside `device` is what `rollcall.apply_settled` may apply by itself.

    An entry with problems has no digest: it is decoded later, and what is wrong with it left out.
    """
    problems = problems_of(device, listed_at, dating)
    for problem in problems:
        run.note(f"{device.external_id}: {problem.field} {problem.error}")
    digest = None if problems else digest_of(device)
    components, versions, version_ats = zip(*device.firmware, strict=True) if device.firmware else _NONE
    return (
        run.id, device.external_id, device.serial_number, listed_at, to_json(device), digest,
        device.online_at, device.offline_at, device.battery_level, device.battery_at,
        device.signal_strength, device.signal_at, components, versions, version_ats,
    )  # fmt: skip
