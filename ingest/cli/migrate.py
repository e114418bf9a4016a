"""`rollcall migrate`: bring the database to what this release needs."""

import asyncio
import dataclasses
from typing import Annotated

import typer

from ingest.cli.options import AsJson, DatabaseUrl
from ingest.cli.output import console, print_json, print_rows, visible
from ingest.errors import MigrationRefused
from ingest.migrate import MigrationReport
from ingest.migrate import migrate as run_migrations
from ingest.migrate import status as read_status
from ingest.migrate.advice import advice
from ingest.settings import load_settings


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run; change nothing.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="List every migration and its state, then give advice.")
    ] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to what this release needs.

    The database is the one of ROLLCALL_DATABASE_DIRECT_URL, else of ROLLCALL_DATABASE_URL. Run it at any time, by
    several at once, and again after it was cut short. Exit codes: 0 done, 1 refused, 2 usage, 3 database away.
    """
    if dry_run and status:
        raise typer.BadParameter("--dry-run and --status exclude each other")
    dsn = database_url or load_settings().direct_url
    if status:
        _show_status(dsn, as_json=as_json)
        return
    from rich.console import Console

    progress = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=as_json)
    report = asyncio.run(
        run_migrations(dsn, dry_run=dry_run, on_progress=lambda text: progress.print(visible(text)))
    )
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        _show_report(report)


def _show_status(dsn: str, *, as_json: bool) -> None:
    statuses = asyncio.run(read_status(dsn))
    rows = [dataclasses.asdict(s) for s in statuses]
    print_rows(rows, ["filename", "state", "applied_at"], as_json=as_json)
    for sentence in [] if as_json else asyncio.run(advice(dsn)):
        console().print(f"\n{visible(sentence)}", markup=False, highlight=False)
    refused = [s.filename for s in statuses if s.state in ("changed", "missing")]
    if refused:
        raise MigrationRefused(f"not the files that this database had: {', '.join(refused)}")


def _show_report(report: MigrationReport) -> None:
    lines = []
    if report.dry_run:
        lines += [f"would apply {name}" for name in report.applied]
        lines += [f"would rebuild the index of {name}" for name in report.rebuilt]
    verb = "to apply" if report.dry_run else "applied"
    lines.append(
        f"{len(report.applied)} {verb}, {len(report.skipped)} skipped, {len(report.rebuilt)} rebuilt"
    )
    if report.newer:
        lines.append(f"applied by a later release: {', '.join(report.newer)}")
    console().print(visible("\n".join(lines)), markup=False, highlight=False)
