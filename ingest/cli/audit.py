"""`rollcall audit`: who created, changed, tested or read what."""

import asyncio

from ingest.cli.options import AsJson, DatabaseUrl, Limit, Organization
from ingest.cli.output import print_rows
from ingest.settings import load_settings
from ingest.store.people.audit import entries
from ingest.store.people.session import Row, session


def audit(
    organization: Organization = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List who created, changed, tested or read integrations, tokens and credentials, newest first."""

    async def fetch() -> list[Row]:
        async with session(load_settings(database_url=database_url).database_url) as connection:
            return await entries(connection, organization, limit)

    columns = ["at", "organization", "actor", "address", "action", "name", "subject"]
    print_rows(asyncio.run(fetch()), columns, as_json=as_json)
