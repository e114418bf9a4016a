"""`rollcall migrate`: bring the database to what this release needs."""

import asyncio
import dataclasses
import json
import os
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from ingest.errors import MigrationRefused, Misconfigured, Unavailable
from ingest.migrate import FileStatus, MigrationReport
from ingest.migrate import migrate as run_migrations
from ingest.migrate import status as read_status

REFUSED, USAGE, UNAVAILABLE = 1, 2, 3

_STYLES = {"applied": "green", "pending": "yellow", "skipped": "yellow", "newer": "cyan"}
T = TypeVar("T")


def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and change nothing.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="List every migration and its state.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")] = False,
) -> None:
    """Bring the database to what this release needs.

    The database is the one of ROLLCALL_DATABASE_DIRECT_URL, else of ROLLCALL_DATABASE_URL. Safe to run at any time, by
    several at once, and again after it was cut short. Exit codes: 0 done, 1 refused, 2 usage, 3 database away.
    """
    if dry_run and status:
        raise typer.BadParameter("--dry-run and --status exclude each other")
    dsn = os.environ.get("ROLLCALL_DATABASE_DIRECT_URL") or os.environ.get("ROLLCALL_DATABASE_URL")
    if not dsn:
        raise typer.BadParameter(
            "set ROLLCALL_DATABASE_DIRECT_URL or ROLLCALL_DATABASE_URL to the database's URL"
        )
    if status:
        statuses = _await(read_status(dsn))
        _print_json([dataclasses.asdict(s) for s in statuses]) if as_json else _print_statuses(statuses)
        if any(s.state in ("changed", "missing") for s in statuses):
            raise typer.Exit(REFUSED)
        return
    progress = None if as_json else Console(stderr=True, highlight=False).print
    report = _await(run_migrations(dsn, dry_run=dry_run, on_progress=progress))
    _print_json(dataclasses.asdict(report)) if as_json else _print_report(report)


def _await(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (MigrationRefused, Misconfigured, Unavailable) as error:
        Console(stderr=True, highlight=False).print(f"[red]error:[/] {_plain(error)}", soft_wrap=True)
        code = UNAVAILABLE if isinstance(error, Unavailable) else USAGE
        raise typer.Exit(REFUSED if isinstance(error, MigrationRefused) else code) from None


def _plain(error: object) -> str:
    return str(error).replace("[", r"\[")


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, default=str))


def _print_statuses(statuses: list[FileStatus]) -> None:
    table = Table("migration", "state", "applied at", box=None, pad_edge=False)
    for s in statuses:
        when = f"{s.applied_at:%Y-%m-%d %H:%M:%S %Z}" if s.applied_at else ""
        table.add_row(s.filename, f"[{_STYLES.get(s.state, 'red')}]{s.state}[/]", when)
    Console().print(table)


def _print_report(report: MigrationReport) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name in report.applied if report.dry_run else ():
        console.print(f"would apply {name}")
    for name in report.rebuilt if report.dry_run else ():
        console.print(f"would rebuild the index of {name}")
    verb = "to apply" if report.dry_run else "applied"
    console.print(
        f"{len(report.applied)} {verb}, {len(report.skipped)} skipped, {len(report.rebuilt)} rebuilt"
    )
    if report.newer:
        console.print(f"this database has had a later release: {', '.join(report.newer)}")
