"""`rollcall devices`: list, show."""

import asyncio
from typing import Annotated

import typer

from ingest.cli.options import AsJson, DatabaseUrl, Limit, Organization
from ingest.cli.output import print_json, print_row, print_rows
from ingest.settings import load_settings
from ingest.store.people import inspection
from ingest.store.people.session import Row, session

app = typer.Typer(no_args_is_help=True, help="Devices as their rows say, and how they came to say it.")


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="online, offline, warning or error.")] = None,
    organization: Organization = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List devices by name."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await inspection.devices(connection, status=status, slug=organization, limit=limit)

    columns = [
        "name",
        "status",
        "battery_level",
        "signal_strength",
        "firmware_version",
        "last_seen_online",
        "id",
    ]
    print_rows(asyncio.run(fetch()), columns, as_json=as_json)


@app.command()
def show(
    device: Annotated[str, typer.Argument(help="Its id, external id, serial number or name.")],
    organization: Organization = None,
    events: Annotated[int, typer.Option(min=0, help="Rows of the timeline.")] = 20,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Show a device: its row, the clocks behind it, its firmware, its unusable fields and its timeline."""

    async def fetch() -> Row:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await inspection.device(connection, device, organization, events)

    row = asyncio.run(fetch())
    if as_json:
        print_json(row)
        return
    nested = {name: row.pop(name) for name in ("clocks", "firmware", "field_errors", "timeline")}
    print_row(row, as_json=False)
    print("\nclocks")
    print_row(nested["clocks"], as_json=False)
    print("\nfirmware")
    print_rows(nested["firmware"], ["component", "version", "at"], as_json=False)
    print("\nfields that could not be used, newest first")
    print_rows(nested["field_errors"], ["at", "field", "value", "reason"], as_json=False)
    print("\ntimeline, newest first")
    print_rows(
        nested["timeline"], ["at", "kind", "component", "source", "retracted_at", "detail"], as_json=False
    )
