"""`rollcall audit`: list who created, changed, tested or read an integration, a token or a credential."""

from ingest.cli.listing import Connection, listing
from ingest.cli.options import AsJson, DatabaseUrl, Limit, Organization
from ingest.store.people import organizations
from ingest.store.people.audit import Entry, entries

COLUMNS = ("at", "organization", "actor", "address", "action", "name", "subject")


def audit(
    organization: Organization = None,
    limit: Limit = 100,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List who created, changed, tested or read integrations, tokens and credentials, newest first."""

    async def fetch(connection: Connection) -> list[Entry]:
        return await entries(connection, await organizations.chosen(connection, organization), limit)

    listing(database_url, fetch, COLUMNS, Entry._fields, as_json=as_json)
