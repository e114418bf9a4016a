"""`rollcall sync`: reconcile one integration now, or show what that would change."""

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.app import open_pool
from ingest.cli.options import AsJson, DatabaseUrl, Organization
from ingest.cli.output import Row, fail, print_json, print_row, print_rows
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.reconcile.phases import Options, Outcome, Progress
from ingest.reconcile.reconciler import Reconciler
from ingest.settings import Settings, load_settings
from ingest.store.people import integrations, organizations
from ingest.store.people.session import session

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

COLUMNS = ["device", "what", "field", "from", "to"]


def sync(
    integration: Annotated[str, typer.Argument(help="Its name or id.")],
    organization: Organization = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Begin anew where an interrupted run could be continued.")
    ] = False,
    accept_missing: Annotated[
        bool, typer.Option("--accept-missing", help="Apply a listing that misses many known devices.")
    ] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Ask a provider for its devices and bring the rows up to date.

    Exit codes: 0 done; 1 a person must look (stopped by a guard, wrong key); 3 the provider or the database is away,
    or a run is under way.
    """
    settings = load_settings(database_url=database_url)
    options = Options(dry_run, full, accept_missing)
    outcome = asyncio.run(_sync(settings, integration, organization, options, quiet=as_json))
    _print(outcome, as_json=as_json)
    if outcome.run.status not in ("done", "dry"):
        fail(outcome.run.detail)
        is_away = outcome.error is not None and not isinstance(outcome.error, Misconfigured)
        raise typer.Exit(3 if is_away else 1)


async def _sync(settings: Settings, name: str, slug: str | None, options: Options, *, quiet: bool) -> Outcome:
    async with session(settings.database_url) as connection:
        organization = await organizations.chosen(connection, slug)
        identifier = (await integrations.find(connection, organization, name)).id
    async with await open_pool(settings) as pool:
        holder = f"{socket.gethostname()}/{os.getpid()}/sync"
        keyring = Keyring.from_setting(settings.keys)
        reconciler = Reconciler(pool, settings, keyring, StrictClock(), holder, random.Random())
        with _bar(quiet) as show:
            return await reconciler.reconcile(identifier, options, trigger="demand", show=show)


@contextmanager
def _bar(quiet: bool) -> Iterator["_Shown"]:
    """Show progress on stderr where a person looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        yield _Shown(bar)


class _Shown:
    """One line a phase."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._tasks: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        phase = "listing" if progress.run.phase in ("listing", "listed") else progress.run.phase
        if phase not in self._tasks:
            self._tasks[phase] = self._bar.add_task(phase, total=progress.total)
        self._bar.update(self._tasks[phase], completed=progress.done, total=progress.total)  # type: ignore[arg-type]


def _print(outcome: Outcome, *, as_json: bool) -> None:
    run = outcome.run
    summary: Row = {
        "run": run.id,
        "status": run.status,
        **run.counts,
        "duration_s": run.duration_s,
        "detail": run.detail,
        "errors": run.errors,
    }
    found = [dict(zip(COLUMNS, difference, strict=True)) for difference in outcome.differences]
    if as_json:
        print_json({**summary, "differences": found} if run.dry_run else summary)
        return
    if run.dry_run:
        print_rows(found, COLUMNS, as_json=False)
    print_row({name: value for name, value in summary.items() if value not in ("", [])}, as_json=False)
