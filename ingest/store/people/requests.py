"""Requests with an Idempotency-Key: claimed by one process, their answers kept for a day."""

from typing import Any, NamedTuple
from uuid import UUID

Connection = Any
ABANDONED_S = 900
"""A claim without an answer was left by a process that died."""


class Claim(NamedTuple):
    """The state of a key. `status` is None while it is being worked on; `ours` where that is our work."""

    ours: bool
    digest: bytes
    status: int | None
    answer: bytes | None


async def claim(connection: Connection, organization_id: UUID, key: str, digest: bytes) -> Claim:
    """Claim the key, or return its state."""
    await connection.execute(
        """delete from rollcall.api_requests where organization_id = $1
            and (created_at < pg_catalog.now() - interval '1 day'
            or status is null and created_at < pg_catalog.now() - pg_catalog.make_interval(secs => $2))""",
        organization_id,
        ABANDONED_S,
    )
    made = await connection.fetchval(
        """insert into rollcall.api_requests (organization_id, key, digest) values ($1, $2, $3)
        on conflict do nothing returning true""",
        organization_id,
        key,
        digest,
    )
    if made:
        return Claim(True, digest, None, None)
    row = await connection.fetchrow(
        "select digest, status, answer from rollcall.api_requests where organization_id = $1 and key = $2",
        organization_id,
        key,
    )
    return Claim(False, *row) if row else Claim(False, digest, None, None)


async def complete(
    connection: Connection, organization_id: UUID, key: str, status: int, answer: bytes
) -> None:
    """Keep the answer of a request."""
    await connection.execute(
        "update rollcall.api_requests set status = $3, answer = $4 where organization_id = $1 and key = $2",
        organization_id,
        key,
        status,
        answer,
    )


async def release(connection: Connection, organization_id: UUID, key: str) -> None:
    """Give the key back: nothing was done under it."""
    await connection.execute(
        "delete from rollcall.api_requests where organization_id = $1 and key = $2 and status is null",
        organization_id,
        key,
    )
