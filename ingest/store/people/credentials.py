"""Credentials of devices: encrypted by the service, read only after a row of the audit says by whom."""

import base64
import binascii
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ingest.crypto import Keyring, is_encrypted
from ingest.errors import SecretUnreadable
from ingest.store.errors import acquired
from ingest.store.people.audit import Actor, note

Connection = Any
AT_ONCE = 500


class New(NamedTuple):
    """A credential to store; `secret` is encrypted already."""

    device_id: UUID
    credential_type: str
    identity: str
    secret: str
    expires_at: datetime | None


class Credential(NamedTuple):
    """A credential without its secret. `state` is active, expired or revoked."""

    credential_id: UUID
    credential_type: str
    identity: str
    created_at: datetime | None
    expires_at: datetime | None
    last_accessed_at: datetime | None
    state: str


class StoredCredential(NamedTuple):
    """A credential with its secret as it is stored; None where it is expired or revoked."""

    id: UUID
    credential_type: str
    identity: str
    state: str
    encrypted_secret: str | None


def context(device_id: UUID, credential_type: str) -> str:
    """Return the place that a secret is bound to."""
    return f"device_credentials/{device_id}/{credential_type}"


def decrypt_secret(stored: str, device_id: UUID, credential_type: str, keyring: Keyring) -> str:
    """Return the secret in the clear; the platform's older form is base64 of it.

    Raises: SecretUnreadable.
    """
    bound_to = context(device_id, credential_type)
    if is_encrypted(stored):
        return keyring.decrypt(stored, bound_to)
    try:
        return base64.b64decode("".join(stored.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        raise SecretUnreadable(f"the secret of {bound_to} is neither encrypted nor base64") from None


_STATE = """case when c.encrypted_secret is null then 'revoked' when c.expires_at <= now() then 'expired'
    else 'active' end"""


async def credentials(connection: Connection, organization: UUID | None, device_id: UUID) -> list[Credential]:
    """Return a device's credentials without their secrets."""
    found = await connection.fetch(
        f"""select c.id as credential_id, c.credential_type, c.identity, c.created_at, c.expires_at,
            c.last_accessed_at, {_STATE} as state
        from public.device_credentials c join public.devices d on d.id = c.device_id
            and ($1::uuid is null or d.organization_id = $1)
        where c.device_id = $2 order by c.credential_type""",  # noqa: S608
        organization,
        device_id,
    )
    return [Credential(**row) for row in found]


async def create(connection: Connection, organization_id: UUID, new: New, actor: Actor) -> UUID | None:
    """Store a credential, in the place of a revoked or expired one; None where one of its type is active."""
    identifier: UUID | None = await connection.fetchval(
        """insert into public.device_credentials as c (device_id, credential_type, identity, encrypted_secret,
            created_at, expires_at)
        select d.id, $3, $4, $5, pg_catalog.now(), $6 from public.devices d where d.organization_id = $1 and d.id = $2
        on conflict (device_id, credential_type) do update set identity = excluded.identity,
            encrypted_secret = excluded.encrypted_secret, created_at = pg_catalog.now(),
                expires_at = excluded.expires_at,
            last_accessed_at = null, last_accessed_by = null
            where c.encrypted_secret is null or c.expires_at <= pg_catalog.now()
        returning c.id""",
        organization_id,
        *new,
    )
    if identifier is not None:
        await _note(connection, new.device_id, "created", new.credential_type, actor)
        await note(connection, organization_id, actor, "credential.created", identifier, new.identity)
    return identifier


async def revoke(
    connection: Connection, organization_id: UUID, device_id: UUID, credential_id: UUID, actor: Actor
) -> bool:
    """Delete the secret and keep the row, which the audit names; False where there is no such credential."""
    found = await connection.fetchrow(
        """update public.device_credentials c set encrypted_secret = null,
            expires_at = least(coalesce(c.expires_at, pg_catalog.now()), pg_catalog.now())
        from public.devices d where d.id = c.device_id and d.organization_id = $1 and d.id = $2 and c.id = $3
        returning c.credential_type, c.identity""",
        organization_id,
        device_id,
        credential_id,
    )
    if found is not None:
        await _note(connection, device_id, "revoked", found["credential_type"], actor)
        await note(connection, organization_id, actor, "credential.revoked", credential_id, found["identity"])
    return found is not None


async def read(
    connection: Connection, organization_id: UUID, device_id: UUID, credential_id: UUID, actor: Actor
) -> StoredCredential | None:
    """Write who reads it, then read it, in one transaction; None where there is no such credential.

    One that is expired or revoked comes without its secret, and is not counted as read.
    """
    row = await connection.fetchrow(
        f"""select c.id, c.credential_type, c.identity, {_STATE} as state
        from public.device_credentials c join public.devices d on d.id = c.device_id and d.organization_id = $1
        where c.device_id = $2 and c.id = $3""",  # noqa: S608
        organization_id,
        device_id,
        credential_id,
    )
    if row is None or row["state"] != "active":
        return StoredCredential(**row, encrypted_secret=None) if row else None
    await connection.execute(
        """insert into public.device_credential_access_log (credential_id, accessed_by, accessed_at, ip_address,
            user_agent)
        values ($1, rollcall.actor_of('public.device_credential_access_log', 'accessed_by', $2, $3), pg_catalog.now(),
            $4::text::inet, $5)""",
        credential_id,
        actor.user_id,
        actor.token_id,
        actor.address,
        actor.agent,
    )
    await _note(connection, device_id, "read", row["credential_type"], actor)
    await note(connection, organization_id, actor, "credential.read", credential_id, row["identity"])
    secret = await connection.fetchval(
        """update public.device_credentials set last_accessed_at = pg_catalog.now(),
            last_accessed_by = rollcall.actor_of('public.device_credentials', 'last_accessed_by', $2, $3)
        where id = $1 returning encrypted_secret""",
        credential_id,
        actor.user_id,
        actor.token_id,
    )
    return StoredCredential(**row, encrypted_secret=secret)


async def upgrade(connection: Connection, credential_id: UUID, found: str, encrypted: str) -> None:
    """Put the encrypted form where the older one still stands."""
    await connection.execute(
        "update public.device_credentials set encrypted_secret = $3 where id = $1 and encrypted_secret = $2",
        credential_id,
        found,
        encrypted,
    )


async def rotate_credentials(
    pool: asyncpg.Pool, keyring: Keyring, *, timeout_s: float = 30.0
) -> tuple[int, int]:
    """Encrypt every secret under the newest key, while the service runs.

    Returns how many were, and how many cannot be read.
    Raises: DatabaseAway; Misconfigured without a key.
    """
    done = unreadable = 0
    last: UUID | None = None
    while True:
        async with acquired(pool, timeout_s) as connection:
            found = await connection.fetch(
                """select id, device_id, credential_type, encrypted_secret as secret from public.device_credentials
                where encrypted_secret is not null and ($1::uuid is null or id > $1) order by id limit $2""",
                last,
                AT_ONCE,
            )
            for row in found:
                if keyring.is_current(row["secret"]):
                    continue
                device_id, kind = row["device_id"], row["credential_type"]
                try:
                    clear = decrypt_secret(row["secret"], device_id, kind, keyring)
                except SecretUnreadable:
                    unreadable += 1
                    continue
                encrypted = keyring.encrypt(clear, context(device_id, kind))
                await upgrade(connection, row["id"], row["secret"], encrypted)
                done += 1
        if len(found) < AT_ONCE:
            return done, unreadable
        last = found[-1]["id"]


async def _note(connection: Connection, device_id: UUID, what: str, kind: str, actor: Actor) -> None:
    await connection.execute(
        """insert into rollcall.device_events (subject, kind, component, at, source, detail)
        values ($1, 'credential', $2, pg_catalog.clock_timestamp(), 'api',
            pg_catalog.jsonb_build_object('what', $3::text, 'by', $4::text))
        on conflict do nothing""",
        device_id,
        kind,
        what,
        actor.name,
    )
