"""The ledgers: which files a database has had, and how that compares with the files at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import asyncpg

from ingest.errors import MigrationRefused
from ingest.migrate.files import MigrationFile

State = Literal["applied", "pending", "skipped", "changed", "missing", "newer"]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file as this database and this release see it.

    `skipped` waits for a repair of old rows and stops nothing; `newer` was applied by a later release and is no
    obstacle either, because migrations only ever add; `changed` and `missing` are refused.
    """

    filename: str
    state: State
    applied_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One row of rollcall.migrations."""

    filename: str
    sha256: str
    applied_at: datetime


async def prepare(connection: asyncpg.Connection) -> None:
    """Create the schema `rollcall` and the ledgers in it where they are missing."""
    if await connection.fetchval("select pg_catalog.to_regclass('rollcall.functions') is not null"):
        return
    async with connection.transaction():
        await connection.execute(
            """
            create schema if not exists rollcall;
            create table if not exists rollcall.migrations (
                filename text primary key,
                sha256 text not null,
                applied_at timestamptz not null default clock_timestamp()
            );
            create table if not exists rollcall.functions (
                filename text primary key,
                sha256 text not null,
                release text not null,
                applied_at timestamptz not null default clock_timestamp()
            );
            """
        )


async def recorded(connection: asyncpg.Connection) -> dict[str, Record]:
    """Return what the ledger holds, by file name; nothing where there is no ledger yet."""
    if not await connection.fetchval("select pg_catalog.to_regclass('rollcall.migrations') is not null"):
        return {}
    rows = await connection.fetch("select filename, sha256, applied_at from rollcall.migrations")
    return {row["filename"]: Record(row["filename"], row["sha256"], row["applied_at"]) for row in rows}


async def record(connection: asyncpg.Connection, file: MigrationFile) -> None:
    """Note that a file was applied."""
    await connection.execute(
        "insert into rollcall.migrations (filename, sha256) values ($1, $2)", file.name, file.sha256
    )


def compare(files: Sequence[MigrationFile], records: dict[str, Record]) -> list[FileStatus]:
    """Return the state of every file, at hand or recorded, by name."""
    newest_at_hand = max((file.name for file in files), default="")
    newest_applied = max(records, default="")
    known = {file.name: _state_at_hand(file, records, newest_applied) for file in files}
    for name, applied in records.items():
        if name not in known:
            known[name] = FileStatus(
                name, "newer" if name > newest_at_hand else "missing", applied.applied_at
            )
    return [known[name] for name in sorted(known)]


def _state_at_hand(file: MigrationFile, records: dict[str, Record], newest_applied: str) -> FileStatus:
    applied = records.get(file.name)
    if applied is None:
        return FileStatus(file.name, "skipped" if file.repair and file.name < newest_applied else "pending")
    return FileStatus(
        file.name, "applied" if applied.sha256 == file.sha256 else "changed", applied.applied_at
    )


def refuse_divergence(statuses: Sequence[FileStatus]) -> None:
    """Refuse a history that is not the one of the files at hand.

    Raises: MigrationRefused with every changed or missing file by name, and what to do.
    """
    changed = [s.filename for s in statuses if s.state == "changed"]
    missing = [s.filename for s in statuses if s.state == "missing"]
    complaints = []
    if changed:
        complaints.append(
            f"changed after it was applied: {', '.join(changed)}. Restore the file as it was and write the change as a "
            "new migration"
        )
    if missing:
        complaints.append(
            f"applied here, but not among this release's files: {', '.join(missing)}. Install the release that has it, "
            "or restore the file; a database of before the first release had other files: start anew with an empty one"
        )
    if complaints:
        raise MigrationRefused("; ".join(complaints))
