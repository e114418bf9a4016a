"""Organizations by their slugs, as people name them on a command line."""

from typing import Any
from uuid import UUID

from ingest.errors import Misconfigured

Connection = Any


async def ensure(connection: Connection, slug: str) -> UUID:
    """Return the organization with this slug, creating it when it is missing."""
    await connection.execute(
        "insert into public.organizations (name, slug) values ($1, $1) on conflict (slug) do nothing", slug
    )
    return await named(connection, slug)


async def named(connection: Connection, slug: str) -> UUID:
    """Return the id of an organization. Raises: Misconfigured."""
    found: UUID | None = await connection.fetchval(
        "select id from public.organizations where slug = $1", slug
    )
    if found is None:
        raise Misconfigured(f"there is no organization {slug!r}")
    return found


async def chosen(connection: Connection, slug: str | None) -> UUID | None:
    """Return the id of an organization; None, which means all of them, for None. Raises: Misconfigured."""
    return None if slug is None else await named(connection, slug)
