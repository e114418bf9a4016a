"""`rollcall dead-letters`: list, show, replay, drop."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from ingest.app import open_pool
from ingest.cli.options import AsJson, DatabaseUrl, Integration, Limit
from ingest.cli.output import print_row, print_rows, say
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.planner import Planner
from ingest.pipeline.replay import ParseWebhookSettings, Replay, Replayed
from ingest.settings import Settings, load_settings
from ingest.store.commit.apply import Applier
from ingest.store.commit.identity import Identities
from ingest.store.people import admin, inspection
from ingest.store.people.session import Row, session
from ingest.webhooks.hooks import parse_webhook_settings

app = typer.Typer(
    no_args_is_help=True, help="Messages that could not be decoded or that the database refused."
)
Kind = Annotated[str | None, typer.Option("--kind", help="The kind of error.")]


@app.command("list")
def list_(
    integration: Integration = None,
    kind: Kind = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List dead letters, newest first."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            identifier = await admin.integration_named(connection, integration)
            return await inspection.dead_letters(connection, integration=identifier, kind=kind, limit=limit)

    print_rows(
        asyncio.run(fetch()), ["recorded_at", "integration", "kind", "topic", "error", "id"], as_json=as_json
    )


@app.command()
def show(identifier: UUID, as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Show one dead letter with its payload."""

    async def fetch() -> Row:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await inspection.dead_letter(connection, identifier)

    print_row(asyncio.run(fetch()), as_json=as_json)


@app.command()
def drop(
    ids: Annotated[list[UUID] | None, typer.Argument()] = None,
    integration: Integration = None,
    kind: Kind = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the other options leave.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Delete dead letters for good."""
    if not ids and not everything:
        raise Misconfigured(
            "name the ids to drop, or pass --all (with --integration and --kind to narrow it)"
        )

    async def delete() -> int:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            identifier = await admin.integration_named(connection, integration)
            return await inspection.drop_dead_letters(
                connection, ids=ids or [], integration=identifier, kind=kind
            )

    print(f"{asyncio.run(delete())} dropped")


@app.command()
def replay(ids: Annotated[list[UUID], typer.Argument()], database_url: DatabaseUrl = None) -> None:
    """Decode dead letters again, apply them as of when they were received, and delete what was applied."""
    settings = load_settings(database_url=database_url)

    async def again() -> list[Replayed]:
        async with await open_pool(settings) as pool:
            planner = Planner(settings, Keyring.from_setting(settings.keys))
            replaying = Replay(pool, planner, _understood(settings), Applier(pool), Identities(pool))
            return await replaying.replay(ids)

    results = asyncio.run(again())
    for identifier, error in results:
        say(f"{identifier} {'applied' if error is None else 'stays: ' + error}")
    if len(results) < len(set(ids)) or any(error for _, error in results):
        raise typer.Exit(1)


def _understood(settings: Settings) -> ParseWebhookSettings:
    return lambda row: parse_webhook_settings(settings, row.id, row.name, row.settings_object)
