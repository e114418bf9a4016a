"""`rollcall token`: create, list and revoke bearer tokens of the API."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from ingest.cli.listing import Connection, ask, listing
from ingest.cli.options import AsJson, DatabaseUrl, Organization
from ingest.cli.output import print_json
from ingest.errors import Misconfigured
from ingest.store.people import organizations, tokens

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of the API, each of one organization.")
COLUMNS = ("organization", "name", "scopes", "state", "expires_at", "last_used_at", "id")


@app.command()
def create(
    name: str,
    organization: Annotated[str, typer.Option(help="The organization's slug.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, operate, secrets or admin; repeatable. Default: read.")
    ] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Without it the token does not expire.")
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a token and print it. It is shown this once and cannot be had again."""
    scopes = scope or ["read"]
    unknown = sorted(set(scopes) - set(tokens.SCOPES))
    if unknown:
        raise Misconfigured(f"--scope {unknown[0]}: use one of {', '.join(tokens.SCOPES)}")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Misconfigured("the token's name must have 1 to 100 printable characters")
    until = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None

    async def make(connection: Connection) -> tuple[UUID, str]:
        organization_id = await organizations.named(connection, organization)
        return await tokens.create(connection, organization_id, name, scopes, until)

    identifier, token = ask(database_url, make)
    if as_json:
        print_json({"id": identifier, "token": token, "scopes": scopes, "expires_at": until})
    else:
        print(token)


@app.command("list")
def list_(
    organization: Organization = None, as_json: AsJson = False, database_url: DatabaseUrl = None
) -> None:
    """List tokens by what is known of them: never the token itself."""

    async def fetch(connection: Connection) -> list[tokens.Token]:
        return await tokens.tokens(connection, await organizations.chosen(connection, organization))

    listing(database_url, fetch, COLUMNS, tokens.Token._fields, as_json=as_json)


@app.command()
def revoke(identifier: UUID, database_url: DatabaseUrl = None) -> None:
    """End a token at once."""
    ask(database_url, lambda connection: tokens.revoke(connection, identifier))
    print(f"{identifier} is revoked")
