"""Transactions that see one organization: the second wall behind the organization id that every query filters by.

The role and the setting are local to the transaction, so they work through a transaction pooler too.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg

from ingest.store.errors import DATABASE_ERRORS, acquired, message_of, translated

Connection = Any
ROLE = "rollcall_api"
QUERY_TIMEOUT_S = 5.0
POOL_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class Tenants:
    """Gives out transactions of `pool`, which should be the API's own, so that no reader keeps the committer waiting.

    `role` is None where the database has no usable one: the first wall stands alone then.
    """

    def __init__(self, pool: asyncpg.Pool, role: str | None = ROLE) -> None:
        self.pool = pool
        self.role = role

    @classmethod
    async def probed(cls, pool: asyncpg.Pool) -> "Tenants":
        """Find out whether the role can be used here; the log says why not.

        Raises: DatabaseAway.
        """
        problem = await _problem(pool)
        if problem is not None:
            log.warning("the API works without the role %s: %s", ROLE, problem)
        return cls(pool, None if problem else ROLE)

    @contextlib.asynccontextmanager
    async def of(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """Open a transaction of this organization. Raises: Refused, DatabaseAway (Contended)."""
        async with acquired(self.pool, POOL_TIMEOUT_S) as connection, connection.transaction():
            await connection.execute(
                """select pg_catalog.set_config('role', coalesce($1, 'none'), true),
                    pg_catalog.set_config('rollcall.organization', $2, true),
                        pg_catalog.set_config('statement_timeout', $3, true)""",
                self.role,
                str(organization_id),
                str(int(QUERY_TIMEOUT_S * 1000)),
            )
            yield connection


async def _problem(pool: asyncpg.Pool) -> str | None:
    """Say why the role cannot be used, or return None: it must see the devices that we see."""
    async with acquired(pool, POOL_TIMEOUT_S) as connection:
        if not await connection.fetchval("select pg_catalog.to_regrole($1) is not null", ROLE):
            advice = f"`create role {ROLE} nologin noinherit; grant {ROLE} to <the service's role>`"
            return f"it is missing; run {advice} and `select rollcall.open_to_api()`"
        device = await connection.fetchrow("select id, organization_id from public.devices limit 1")
    organization_id = device["organization_id"] if device else UUID(int=0)
    try:
        async with pool.acquire(timeout=POOL_TIMEOUT_S) as connection, connection.transaction():
            await connection.execute(
                "select pg_catalog.set_config('role', $1, true), pg_catalog.set_config('rollcall.organization', "
                "$2, true)",
                ROLE,
                str(organization_id),
            )
            seen = await connection.fetchval(
                "select id from public.devices where organization_id = $1 limit 1", organization_id
            )
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] not in ("42", "22"):
            raise translated(error) from error
        return message_of(error)
    except DATABASE_ERRORS as error:
        raise translated(error) from error
    return (
        "it sees no device: run `select rollcall.open_to_api()` as the tables' owner"
        if device and not seen
        else None
    )
