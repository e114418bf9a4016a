"""`rollcall token`: create, list, revoke. What programs and people show to the API."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from ingest.cli.options import AsJson, DatabaseUrl, Organization
from ingest.cli.output import print_json, print_rows
from ingest.errors import Misconfigured
from ingest.settings import load_settings
from ingest.store.people import tokens
from ingest.store.people.session import Row, session

app = typer.Typer(no_args_is_help=True, help="Bearer tokens of the API, each of one organization.")


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

    async def make() -> tuple[UUID, str]:
        url = load_settings(database_url=database_url).database_url
        async with session(url) as connection, connection.transaction():
            organization_id = await tokens.organization_of(connection, organization)
            return await tokens.create(connection, organization_id, name, scopes, until)

    identifier, token = asyncio.run(make())
    if as_json:
        print_json({"id": identifier, "token": token, "scopes": scopes, "expires_at": until})
    else:
        print(token)


@app.command("list")
def list_(
    organization: Organization = None, as_json: AsJson = False, database_url: DatabaseUrl = None
) -> None:
    """List tokens by what is known of them: never the token itself."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await tokens.listed(connection, organization)

    columns = ["organization", "name", "scopes", "state", "expires_at", "last_used_at", "id"]
    print_rows(asyncio.run(fetch()), columns, as_json=as_json)


@app.command()
def revoke(identifier: UUID, database_url: DatabaseUrl = None) -> None:
    """End a token at once."""

    async def end() -> None:
        url = load_settings(database_url=database_url).database_url
        async with session(url) as connection, connection.transaction():
            await tokens.revoke(connection, identifier)

    asyncio.run(end())
    print(f"{identifier} is revoked")
