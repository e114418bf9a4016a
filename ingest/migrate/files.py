"""The migration files and what their first comment lines ask of the runner.

`-- no transaction`  the one statement of the file cannot run in a transaction (CREATE INDEX CONCURRENTLY)
`-- unless: SQL`     a query; when it answers true there is nothing to do and the file counts as applied
`-- repair: TEXT`    old rows may violate this (SQLSTATE 23): the file is then skipped with a warning that gives this
                     text, and tried again by every later run until it succeeds

A directive goes on over the comment lines after it that are indented by more than one space.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import ingest
from ingest.errors import MigrationRefused

MIGRATIONS = Path(ingest.__file__).parent.parent / "schema" / "migrations"

_NAME = re.compile(r"\d{14}_[a-z0-9_]+\.sql")
_DIRECTIVE = re.compile(r"-- (no transaction|unless: |repair: )(.*)")
_INDEX = re.compile(
    r"create\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+(\w+)\s+on\s+([\w.]+)", re.I
)


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One file. `index` is (schema, name) of the index that a `-- no transaction` file builds."""

    name: str
    sql: str
    sha256: str
    transactional: bool = True
    unless: str | None = None
    repair: str | None = None
    index: tuple[str, str] | None = None


def discover(folder: Path = MIGRATIONS) -> list[MigrationFile]:
    """Read the migrations of a folder in the order in which they are applied.

    Raises: MigrationRefused for a file whose name or form the runner does not understand.
    """
    if not folder.is_dir():
        raise MigrationRefused(f"no migrations: the folder {folder} is missing from this installation")
    return [read(path) for path in sorted(folder.glob("*.sql"))]


def read(path: Path) -> MigrationFile:
    """Read one file. Line ends do not count: a checkout may change them."""
    if not _NAME.fullmatch(path.name):
        raise MigrationRefused(f"{path.name}: a migration is named YYYYMMDDHHMMSS_lower_case.sql; rename it")
    sql = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    asked = _directives(sql)
    index = None
    if "no transaction" in asked:
        statement = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--")).strip()
        if statement.rstrip(";").count(";"):
            raise MigrationRefused(f"{path.name}: `-- no transaction` allows one statement; split the file")
        if built := _INDEX.search(statement):
            index = (built[2].rpartition(".")[0] or "public", built[1])
    return MigrationFile(
        name=path.name,
        sql=sql,
        sha256=hashlib.sha256(sql.encode()).hexdigest(),
        transactional="no transaction" not in asked,
        unless=asked.get("unless: "),
        repair=asked.get("repair: "),
        index=index,
    )


def _directives(sql: str) -> dict[str, str]:
    asked: dict[str, str] = {}
    current = ""
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        if found := _DIRECTIVE.fullmatch(line):
            current = found[1]
            asked[current] = found[2].strip()
        elif current and line.startswith("--  "):
            asked[current] += " " + line[2:].strip()
        else:
            current = ""
    return asked
