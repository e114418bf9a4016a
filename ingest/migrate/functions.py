"""The files of schema/functions: behaviour, applied again whenever the ledger has another digest of a file.

They come behind the migrations, in the order of their names, all in one transaction. The ledger, rollcall.functions,
holds the digest of each file and the release (its version) that applied it. A release is older than the database where
a migration was applied that is newer than its newest one, or a function file by a later release. It then applies no
function file: its bodies are the former ones, and those that are there keep their signatures and serve it as well.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg

from ingest.errors import MigrationRefused
from ingest.migrate.files import MIGRATIONS
from ingest.migrate.ledger import FileStatus
from ingest.migrate.session import named_failures
from ingest.store.errors import message_of

FUNCTIONS = MIGRATIONS.parent / "functions"

_NAME = re.compile(r"\d\d-[a-z0-9_]+\.sql")
_RELEASE = re.compile(r"\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class FunctionFile:
    """One file of schema/functions. `name` is `functions/` and the file's name."""

    name: str
    sql: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One row of rollcall.functions."""

    filename: str
    sha256: str
    release: str
    applied_at: datetime


def discover_functions(folder: Path = FUNCTIONS) -> list[FunctionFile]:
    """Read the files of a folder in the order in which they are applied; of another folder than ours it may be missing.

    Raises: MigrationRefused for a file of another name than `NN-lower_case.sql`.
    """
    if folder == FUNCTIONS and not folder.is_dir():
        raise MigrationRefused(f"no functions: the folder {folder} is missing from this installation")
    return [_read(path) for path in sorted(folder.glob("*.sql"))]


def _read(path: Path) -> FunctionFile:
    if not _NAME.fullmatch(path.name):
        raise MigrationRefused(f"{path.name}: a file of functions is named NN-lower_case.sql; rename it")
    sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    return FunctionFile(f"functions/{path.name}", sql, hashlib.sha256(sql.encode()).hexdigest())


async def recorded_functions(connection: asyncpg.Connection) -> dict[str, FunctionRecord]:
    """Return what the ledger holds, by file name; nothing where there is no ledger yet."""
    if not await connection.fetchval("select pg_catalog.to_regclass('rollcall.functions') is not null"):
        return {}
    rows = await connection.fetch("select filename, sha256, release, applied_at from rollcall.functions")
    return {row["filename"]: FunctionRecord(*row.values()) for row in rows}


def compare_functions(
    files: Sequence[FunctionFile],
    records: Mapping[str, FunctionRecord],
    migrations: Sequence[FileStatus],
    release: str,
) -> list[FileStatus]:
    """Return the state of every file: `applied`, `pending`, or `newer` where a later release has left another body.

    A recorded file that is not at hand is `newer` if a later release brought it, else this release has removed it.
    """
    later = {name for name, record in records.items() if _order(record.release) > _order(release)}
    is_older = bool(later) or any(status.state == "newer" for status in migrations)
    names = {file.name for file in files}
    statuses = [FileStatus(name, "newer", records[name].applied_at) for name in later - names]
    for file in files:
        record = records.get(file.name)
        if record is not None and record.sha256 == file.sha256:
            statuses.append(FileStatus(file.name, "applied", record.applied_at))
        else:
            statuses.append(FileStatus(file.name, "newer" if is_older else "pending"))
    return sorted(statuses, key=lambda status: status.filename)


async def apply_functions(
    connection: asyncpg.Connection, files: Sequence[FunctionFile], pending: set[str], release: str
) -> None:
    """Run and record the pending files, and forget those that this release has removed. Needs a transaction.

    Raises: MigrationRefused for a file that the database refuses, by its name; a lock that was not to be had passes.
    """
    for file in files:
        if file.name not in pending:
            continue
        with named_failures(file.name):
            try:
                await connection.execute(file.sql)
            except asyncpg.IntegrityConstraintViolationError as error:
                raise MigrationRefused(f"{file.name}: {message_of(error)}") from error
        await connection.execute(
            """
            insert into rollcall.functions (filename, sha256, release) values ($1, $2, $3)
            on conflict (filename) do update set sha256 = excluded.sha256, release = excluded.release,
                applied_at = pg_catalog.clock_timestamp()
            """,
            file.name,
            file.sha256,
            release,
        )
    await connection.execute(
        "delete from rollcall.functions where filename <> all ($1::text[])", [file.name for file in files]
    )


def _order(release: str) -> tuple[int, ...]:
    found = _RELEASE.match(release)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
