"""Bring a database to what this release needs."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

import ingest
from ingest.migrate import ledger
from ingest.migrate.apply import Applier
from ingest.migrate.files import MIGRATIONS, MigrationFile, discover
from ingest.migrate.functions import FunctionFile, compare_functions, discover_functions, recorded_functions
from ingest.migrate.ledger import FileStatus, State
from ingest.migrate.platform import refuse_unusable
from ingest.migrate.session import Patience, connected, only_runner, refuse_shared_sessions

DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class SchemaFiles:
    """What a release brings: migrations, functions, and its version, by which a later release is known as one."""

    migrations: Sequence[MigrationFile]
    functions: Sequence[FunctionFile]
    release: str

    async def compare(self, connection: asyncpg.Connection) -> tuple[list[FileStatus], list[FileStatus]]:
        """Return the states of the migrations and of the functions. Changes nothing."""
        migrations = ledger.compare(self.migrations, await ledger.recorded(connection))
        recorded = await recorded_functions(connection)
        return migrations, compare_functions(self.functions, recorded, migrations, self.release)


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did; with `dry_run`, what it would do. Files of functions are named `functions/...`.

    `skipped` files wait for the repair that their warning names. `rebuilt` are files whose index a crash had left
    invalid. `newer` files were applied by a later release, or left alone
    because of one.
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
    release: str = ingest.__version__,
    patience: Patience = DEFAULT_PATIENCE,
) -> MigrationReport:
    """Apply what the database behind `dsn` has not had. A run that was cut short anywhere is finished by the next.

    `dsn` must reach a session of its own, not a pooler that shares sessions between transactions. The functions are
    those of the folder `functions` beside `folder`.

    Raises: MigrationRefused and Misconfigured (a person must change something), DatabaseAway (try again).
    """
    files = _read(folder, release)
    tell = on_progress or (lambda _: None)
    async with connected(dsn) as connection:
        await refuse_unusable(connection)
        if dry_run:
            return await _rehearse(connection, files)
        await refuse_shared_sessions(connection, dsn)
        async with only_runner(connection, patience, tell):
            return await _run(connection, files, patience, tell)


async def status(
    dsn: str, *, folder: Path = MIGRATIONS, release: str = ingest.__version__
) -> list[FileStatus]:
    """Return the state of every file, at hand or recorded, migrations first, without changing or locking anything.

    Raises: MigrationRefused and Misconfigured (a person must change something), DatabaseAway (try again).
    """
    files = _read(folder, release)
    async with connected(dsn) as connection:
        migrations, functions = await files.compare(connection)
    return [*migrations, *functions]


def _read(folder: Path, release: str) -> SchemaFiles:
    return SchemaFiles(discover(folder), discover_functions(folder.parent / "functions"), release)


async def _run(
    connection: asyncpg.Connection,
    files: SchemaFiles,
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

    migrations, functions = await files.compare(connection)
    ledger.refuse_divergence(migrations)
    await ledger.prepare(connection)
    applier = Applier(connection, patience, tell, warn)
    connection.add_log_listener(heard)
    report = await _apply_migrations(applier, files.migrations, migrations)
    pending = _named(functions, "pending")
    if pending:
        await applier.apply_functions(files.functions, set(pending), files.release)
    _warn_of_later_bodies(files, functions, warn)
    await asyncio.sleep(0)  # the driver hands the last warnings over through the event loop
    connection.remove_log_listener(heard)
    newer = _named([*migrations, *functions], "newer")
    return replace(report, applied=report.applied + pending, newer=newer, warnings=tuple(warnings))


async def _apply_migrations(
    applier: Applier, files: Sequence[MigrationFile], statuses: Sequence[FileStatus]
) -> MigrationReport:
    done = _named(statuses, "applied")
    applied: list[str] = []
    skipped: list[str] = []
    rebuilt: list[str] = []
    for file in files:
        if file.name not in done:
            (applied if await applier.apply(file) else skipped).append(file.name)
        elif await applier.is_broken(file):
            await applier.rebuild(file)
            rebuilt.append(file.name)
    return MigrationReport(tuple(applied), tuple(skipped), tuple(rebuilt))


def _warn_of_later_bodies(
    files: SchemaFiles, statuses: Sequence[FileStatus], warn: Callable[[str], None]
) -> None:
    at_hand = {file.name for file in files.functions}
    if left_alone := [name for name in _named(statuses, "newer") if name in at_hand]:
        warn(
            f"a later release than {files.release} has been here: its functions were left as they are, instead of "
            f"{', '.join(left_alone)}"
        )


async def _rehearse(connection: asyncpg.Connection, files: SchemaFiles) -> MigrationReport:
    migrations, functions = await files.compare(connection)
    ledger.refuse_divergence(migrations)
    applier = Applier(connection, DEFAULT_PATIENCE, print, print)
    return MigrationReport(
        applied=_named([*migrations, *functions], "pending", "skipped"),
        rebuilt=tuple([file.name for file in files.migrations if await applier.is_broken(file)]),
        newer=_named([*migrations, *functions], "newer"),
        dry_run=True,
    )


def _named(statuses: Sequence[FileStatus], *states: State) -> tuple[str, ...]:
    return tuple(status.filename for status in statuses if status.state in states)
