"""Bearer tokens `rc_...`: 32 random bytes, shown once, stored as their SHA-256."""

import base64
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ingest.errors import Misconfigured
from ingest.store.errors import acquired
from ingest.store.people.audit import note, operator

Connection = Any
PREFIX = "rc_"
SCOPES = ("read", "operate", "secrets", "admin")
USED_EVERY_S = 60
"""How exact last_used_at is: written at most so often."""


class StoredToken(NamedTuple):
    """A token as the database knows it."""

    id: UUID
    organization_id: UUID
    name: str
    hash: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked: bool


class Token(NamedTuple):
    """A token without its hash. `organization` is a slug; `state` is active, expired or revoked."""

    id: UUID
    organization: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    state: str


def digest(token: str) -> bytes:
    """Return the SHA-256 that is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


async def create(
    connection: Connection,
    organization_id: UUID,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
) -> tuple[UUID, str]:
    """Make a token and return its id and itself: the only time that it can be seen."""
    token = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    identifier: UUID = await connection.fetchval(
        """insert into rollcall.api_tokens (organization_id, name, hash, scopes, expires_at)
        values ($1, $2, $3, $4, $5) returning id""",
        organization_id,
        name,
        digest(token),
        sorted(set(scopes), key=SCOPES.index),
        expires_at,
    )
    await note(connection, organization_id, operator(), "token.created", identifier, name)
    return identifier, token


async def tokens(connection: Connection, organization: UUID | None) -> list[Token]:
    """Return tokens without their hashes, newest first; of all organizations where `organization` is None."""
    found = await connection.fetch(
        """select t.id, o.slug as organization, t.name, t.scopes, t.created_at, t.expires_at, t.last_used_at,
            case when t.revoked_at is not null then 'revoked' when t.expires_at <= pg_catalog.now() then 'expired'
                else 'active' end as state
        from rollcall.api_tokens t join public.organizations o on o.id = t.organization_id
        where $1::uuid is null or t.organization_id = $1 order by t.created_at desc, t.id""",
        organization,
    )
    return [Token(**row) for row in found]


async def revoke(connection: Connection, identifier: UUID) -> None:
    """End a token at once. Raises: Misconfigured when there is none that is alive."""
    token = await connection.fetchrow(
        """update rollcall.api_tokens set revoked_at = pg_catalog.now() where id = $1 and revoked_at is null
        returning organization_id, name""",
        identifier,
    )
    if token is None:
        raise Misconfigured(f"there is no token {identifier} that could be revoked")
    await note(connection, token["organization_id"], operator(), "token.revoked", identifier, token["name"])


async def find(pool: asyncpg.Pool, wanted: bytes, timeout_s: float) -> StoredToken | None:
    """Return the token with this digest and note that it was used. Raises: DatabaseAway."""
    async with acquired(pool, timeout_s) as connection:
        row = await connection.fetchrow(
            """select id, organization_id, name, hash, scopes, expires_at, revoked_at is not null as revoked,
                coalesce(last_used_at < pg_catalog.now() - pg_catalog.make_interval(secs => $2), true) as unnoted
            from rollcall.api_tokens where hash = $1""",
            wanted,
            USED_EVERY_S,
        )
        if row is None:
            return None
        if row["unnoted"] and not row["revoked"]:
            await connection.execute(
                """update rollcall.api_tokens set last_used_at = pg_catalog.now()
                where id = $1
                    and coalesce(last_used_at < pg_catalog.now() - pg_catalog.make_interval(secs => $2), true)""",
                row["id"],
                USED_EVERY_S,
            )
    return StoredToken(
        row["id"],
        row["organization_id"],
        row["name"],
        row["hash"],
        frozenset(row["scopes"]),
        row["expires_at"],
        row["revoked"],
    )
