"""`rollcall unknown`: list and drop ids that spoke and have no device row."""

from typing import Annotated

import typer

from ingest.cli.listing import Connection, ask, listing
from ingest.cli.options import AsJson, DatabaseUrl, Integration, Limit
from ingest.errors import Misconfigured
from ingest.store.people import integrations, unknown_devices

app = typer.Typer(
    no_args_is_help=True, help="Device ids that spoke and have no row: parked until one appears."
)
COLUMNS = ("external_device_id", "integration", "messages", "first_at", "last_at")


@app.command("list")
def list_(
    integration: Integration = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List parked ids, the most talkative first."""

    async def fetch(connection: Connection) -> list[unknown_devices.UnknownDevice]:
        identifier = await integrations.chosen(connection, integration)
        return await unknown_devices.unknown_devices(
            connection, None, integration_id=identifier, busiest_first=True, limit=limit
        )

    listing(database_url, fetch, COLUMNS, (*COLUMNS, "evidence"), as_json=as_json)


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

    async def delete(connection: Connection) -> int:
        identifier = await integrations.chosen(connection, integration)
        return await unknown_devices.drop(connection, None, integration_id=identifier, ids=ids or [])

    print(f"{ask(database_url, delete)} dropped")
