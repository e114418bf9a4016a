"""`rollcall dead-letters`: list, show, replay and drop messages that could not be decoded or applied."""

import asyncio
from typing import Annotated
from uuid import UUID

import typer

from ingest.app import open_pool
from ingest.cli.listing import Connection, ask, listing
from ingest.cli.options import AsJson, DatabaseUrl, Integration, Limit
from ingest.cli.output import print_row, say
from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.planner import Planner
from ingest.pipeline.replay import ParseWebhookSettings, Replay, Replayed
from ingest.settings import Settings, load_settings
from ingest.store.commit.apply import Applier
from ingest.store.commit.identity import Identities
from ingest.store.people import dead_letters, integrations
from ingest.webhooks.hooks import parse_webhook_settings

app = typer.Typer(
    no_args_is_help=True, help="Messages that could not be decoded or that the database refused."
)
COLUMNS = ("recorded_at", "integration", "kind", "topic", "error", "id")
FIELDS = ("id", "integration", "kind", "error", "topic", "qos", "recorded_at", "bytes", "truncated")
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

    async def fetch(connection: Connection) -> list[dead_letters.DeadLetter]:
        identifier = await integrations.chosen(connection, integration)
        return await dead_letters.dead_letters(
            connection, None, integration_id=identifier, kind=kind, limit=limit
        )

    listing(database_url, fetch, COLUMNS, FIELDS, as_json=as_json)


@app.command()
def show(identifier: UUID, as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Show one dead letter with its payload."""
    letter = ask(database_url, lambda connection: dead_letters.dead_letter(connection, None, identifier))
    print_row(letter._asdict(), as_json=as_json)


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

    async def delete(connection: Connection) -> int:
        identifier = await integrations.chosen(connection, integration)
        return await dead_letters.drop(connection, None, ids=ids or [], integration_id=identifier, kind=kind)

    print(f"{ask(database_url, delete)} dropped")


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
