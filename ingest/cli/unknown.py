"""`rollcall unknown`: list, drop. Ids that spoke and have no device row."""

import asyncio
from typing import Annotated

import typer

from ingest.cli.options import AsJson, DatabaseUrl, Integration, Limit
from ingest.cli.output import print_rows
from ingest.errors import Misconfigured
from ingest.settings import load_settings
from ingest.store.people import admin, inspection
from ingest.store.people.session import Row, session

app = typer.Typer(
    no_args_is_help=True, help="Device ids that spoke and have no row: parked until one appears."
)


@app.command("list")
def list_(
    integration: Integration = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List parked ids, the most talkative first."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            identifier = await admin.integration_named(connection, integration)
            return await inspection.unknown(connection, integration=identifier, limit=limit)

    columns = ["external_device_id", "integration", "messages", "first_at", "last_at"]
    print_rows(asyncio.run(fetch()), columns, as_json=as_json)


@app.command()
def drop(
    ids: Annotated[list[str] | None, typer.Argument()] = None,
    integration: Integration = None,
    everything: Annotated[bool, typer.Option("--all", help="All that --integration leaves.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Forget parked ids and what they said."""
    if not ids and not everything:
        raise Misconfigured("name the ids to drop, or pass --all (with --integration to narrow it)")

    async def delete() -> int:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            identifier = await admin.integration_named(connection, integration)
            return await inspection.drop_unknown(connection, integration=identifier, ids=ids or [])

    print(f"{asyncio.run(delete())} dropped")
