"""`rollcall devices`: list devices, show one with its clocks, firmware, unusable fields and timeline."""

from typing import Annotated, Any, NamedTuple

import typer

from ingest.cli.listing import Connection, ask, dicts, listing
from ingest.cli.options import AsJson, DatabaseUrl, Limit, Organization
from ingest.cli.output import Row, print_json, print_row, print_rows
from ingest.store.people import device_details, devices, organizations

app = typer.Typer(no_args_is_help=True, help="Devices as their rows say, and how they came to say it.")
COLUMNS = (
    "name",
    "status",
    "battery_level",
    "signal_strength",
    "firmware_version",
    "last_seen_online",
    "id",
)
FIELDS = (
    "id",
    "external_device_id",
    "name",
    "organization",
    "status",
    "battery_level",
    "signal_strength",
    "firmware_version",
    "last_seen",
    "last_seen_online",
    "last_seen_offline",
)
EVENT = ("at", "kind", "component", "source", "recorded_at", "retracted_at", "detail")


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="online, offline, warning or error.")] = None,
    organization: Organization = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List devices by name."""

    async def fetch(connection: Connection) -> list[devices.Device]:
        chosen = await organizations.chosen(connection, organization)
        return await devices.devices(connection, chosen, devices.Filter(status=status), limit=limit)

    listing(database_url, fetch, COLUMNS, FIELDS, as_json=as_json)


@app.command()
def show(
    device: Annotated[str, typer.Argument(help="Its id, external id, serial number or name.")],
    organization: Organization = None,
    events: Annotated[int, typer.Option(min=0, help="Rows of the timeline.")] = 20,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Show a device: its row, the clocks behind it, its firmware, its unusable fields and its timeline."""
    shown = ask(database_url, lambda connection: _shown(connection, device, organization, events))
    if as_json:
        print_json({**shown.row, **shown.details})
        return
    print_row(shown.row, as_json=False)
    print("\nclocks")
    print_row(shown.details["clocks"], as_json=False)
    print("\nfirmware")
    print_rows(shown.details["firmware"], ["component", "version", "at"], as_json=False)
    print("\nfields that could not be used, newest first")
    print_rows(shown.details["field_errors"], ["at", "field", "value", "reason"], as_json=False)
    print("\ntimeline, newest first")
    columns = ["at", "kind", "component", "source", "retracted_at", "detail"]
    print_rows(shown.details["timeline"], columns, as_json=False)


class _Shown(NamedTuple):
    """A device's row and, by name, what Rollcall knows beside it."""

    row: Row
    details: dict[str, Any]


async def _shown(connection: Connection, reference: str, slug: str | None, events: int) -> _Shown:
    organization = await organizations.chosen(connection, slug)
    device_id = await devices.find(connection, organization, reference)
    clocks = await devices.clocks(connection, device_id)
    firmware = await device_details.components(connection, organization, device_id)
    field_errors = await device_details.field_errors(connection, organization, device_id)
    timeline = await device_details.timeline(connection, organization, device_id, limit=events)
    details = {
        "clocks": clocks._asdict() if clocks else {},
        "firmware": [
            {"component": row.component, "version": row.version, "at": row.seen_at} for row in firmware
        ],
        "field_errors": dicts(field_errors, device_details.UnusedField._fields),
        "timeline": dicts(timeline, EVENT),
    }
    return _Shown(await devices.whole_row(connection, device_id), details)
