"""Bring a database to what this release needs."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ingest.migrate import ledger
from ingest.migrate.apply import Applier
from ingest.migrate.files import MIGRATIONS, MigrationFile, discover
from ingest.migrate.ledger import FileStatus
from ingest.migrate.platform import refuse_unusable
from ingest.migrate.session import Patience, connected, only_runner, refuse_shared_sessions

DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did; with `dry_run`, what it would do.

    `skipped` files wait for the repair that their warning names. `rebuilt` are files whose index a crash had left
    invalid. `newer` files were applied by a later release.
    """

    applied: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def pending(self) -> tuple[str, ...]:
        """What the database still has not had: after a dry run everything, else what was skipped."""
        return self.applied if self.dry_run else self.skipped


async def migrate(
    dsn: str,
    *,
    dry_run: bool = False,
    on_progress: Callable[[str], None] | None = None,
    folder: Path = MIGRATIONS,
    patience: Patience = DEFAULT_PATIENCE,
) -> MigrationReport:
    """Apply what the database behind `dsn` has not had. A run that was cut short anywhere is finished by the next.

    `dsn` must reach a session of its own, not a pooler that shares sessions between transactions.

    Raises: MigrationRefused and Misconfigured (a person must change something), DatabaseAway (try again).
    """
    files = discover(folder)
    tell = on_progress or (lambda _: None)
    async with connected(dsn) as connection:
        await refuse_unusable(connection)
        if dry_run:
            return await _rehearse(connection, files)
        await refuse_shared_sessions(connection, dsn)
        async with only_runner(connection, patience, tell):
            return await _run(connection, files, patience, tell)


async def status(dsn: str, *, folder: Path = MIGRATIONS) -> list[FileStatus]:
    """Return the state of every migration, at hand or recorded, by name, without changing or locking anything.

    Raises: MigrationRefused and Misconfigured (a person must change something), DatabaseAway (try again).
    """
    files = discover(folder)
    async with connected(dsn) as connection:
        return ledger.compare(files, await ledger.recorded(connection))


async def _run(
    connection: asyncpg.Connection,
    files: Sequence[MigrationFile],
    patience: Patience,
    tell: Callable[[str], None],
) -> MigrationReport:
    warnings: list[str] = []

    def warn(warning: str) -> None:
        warnings.append(warning)
        tell(f"warning: {warning}")

    def heard(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            warn(". ".join(part for part in (message.message, message.detail, message.hint) if part))

    await ledger.prepare(connection)
    statuses = ledger.compare(files, await ledger.recorded(connection))
    ledger.refuse_divergence(statuses)
    done = {s.filename for s in statuses if s.state == "applied"}
    applier = Applier(connection, patience, tell, warn)
    connection.add_log_listener(heard)
    applied: list[str] = []
    skipped: list[str] = []
    rebuilt: list[str] = []
    for file in files:
        if file.name not in done:
            (applied if await applier.apply(file) else skipped).append(file.name)
        elif await applier.is_broken(file):
            await applier.rebuild(file)
            rebuilt.append(file.name)
    await asyncio.sleep(0)  # the driver hands the last warnings over through the event loop
    connection.remove_log_listener(heard)
    return MigrationReport(tuple(applied), tuple(skipped), tuple(rebuilt), _newer(statuses), tuple(warnings))


async def _rehearse(connection: asyncpg.Connection, files: Sequence[MigrationFile]) -> MigrationReport:
    statuses = ledger.compare(files, await ledger.recorded(connection))
    ledger.refuse_divergence(statuses)
    applier = Applier(connection, DEFAULT_PATIENCE, print, print)
    return MigrationReport(
        applied=tuple(s.filename for s in statuses if s.state in ("pending", "skipped")),
        rebuilt=tuple([file.name for file in files if await applier.is_broken(file)]),
        newer=_newer(statuses),
        dry_run=True,
    )


def _newer(statuses: Sequence[FileStatus]) -> tuple[str, ...]:
    return tuple(s.filename for s in statuses if s.state == "newer")
