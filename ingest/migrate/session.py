"""The one connection that migrates: opened, guarded by an advisory lock, its failures named for who must act."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import asyncpg

from ingest.errors import DatabaseAway, MigrationRefused, Misconfigured
from ingest.store.database_url import connectable
from ingest.store.errors import message_of, unusable

LOCK = 0x526F6C6C63616C6C
"""The advisory lock's key: `Rollcall` in ASCII."""

CROWDED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Somebody else has the lock: try again."""

_AWAY = ("08", "53", "57", "58", "25006")
_WRONG_URL = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for whom.

    A statement that needs a lock on the platform's tables gives up after `lock_timeout_s`, because whoever comes after
    it waits too, and tries again up to `attempts` times. CREATE INDEX CONCURRENTLY holds nobody up and may wait for
    old transactions as long as `concurrent_timeout_s`.
    """

    lock_timeout_s: float = 2.0
    attempts: int = 60
    pause_s: float = 5.0
    concurrent_timeout_s: float = 3600.0
    runner_timeout_s: float = 1800.0


@contextlib.contextmanager
def named_failures(what: str = "") -> Iterator[None]:
    """Turn what the driver raises into DatabaseAway (wait) or MigrationRefused (a person must act).

    Locks that were not to be had and violations by old rows pass: the runner knows what to do about those.
    """
    prefix = f"{what}: " if what else ""
    try:
        yield
    except (*CROWDED, asyncpg.IntegrityConstraintViolationError):
        raise
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_AWAY):
            raise DatabaseAway(f"{prefix}{message_of(error)}") from error
        advice = "; migrate as the owner of the platform's tables" if error.sqlstate == "42501" else ""
        raise MigrationRefused(f"{prefix}{message_of(error)} (SQLSTATE {error.sqlstate}){advice}") from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseAway(f"{prefix}{message_of(error)}") from error


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a session for migrating and close it again.

    Raises: Misconfigured when the URL or the credentials in it are wrong, DatabaseAway when nobody answers.
    """
    with named_failures():
        connection = await open_session(dsn)
        try:
            await connection.execute(
                """
                set application_name = 'rollcall migrate';
                set search_path = pg_catalog, public;
                set client_min_messages = warning;
                set statement_timeout = 0;
                set idle_in_transaction_session_timeout = 0;
                set client_connection_check_interval = '2s';
                """
            )
            yield connection
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)


async def open_session(dsn: str) -> asyncpg.Connection:
    """Open a connection that prepares nothing by name. Raises: Misconfigured, and what the driver raises."""
    database = connectable(dsn)
    try:
        return await asyncpg.connect(database.url, statement_cache_size=0, timeout=database.timeout_s(30))
    except _WRONG_URL as error:
        raise Misconfigured(f"the database URL does not work: {message_of(error)}") from error
    except ValueError as error:
        raise Misconfigured(unusable(error)) from None


async def refuse_shared_sessions(connection: asyncpg.Connection, dsn: str) -> None:
    """Refuse a pooler that gives one session to several clients in turn: the runner's lock would guard nothing.

    Behind a pooler the process id that the protocol told is not the server's own. If a second client then gets the
    session that we had a moment ago, sessions are shared between transactions.

    Raises: MigrationRefused.
    """
    ours = await connection.fetchval("select pg_catalog.pg_backend_pid()")
    if connection.get_server_pid() == ours:
        return
    other = await open_session(dsn)
    try:
        shared = await other.fetchval("select pg_catalog.pg_backend_pid()") == ours
    finally:
        await other.close(timeout=5)
    if shared:
        raise MigrationRefused(
            "this database URL goes through a pooler in transaction mode; set ROLLCALL_DATABASE_DIRECT_URL to one that "
            "reaches Postgres itself"
        )


@contextlib.asynccontextmanager
async def only_runner(
    connection: asyncpg.Connection, patience: Patience, tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Be the one runner of this database.

    Polled, because a session that waits inside a statement keeps a snapshot open, and the other runner's CREATE INDEX
    CONCURRENTLY would wait for that.

    Raises: DatabaseAway when another runner does not end in time.
    """
    deadline = asyncio.get_running_loop().time() + patience.runner_timeout_s
    waited = False
    while not await connection.fetchval("select pg_catalog.pg_try_advisory_lock($1)", LOCK):
        if asyncio.get_running_loop().time() > deadline:
            raise DatabaseAway(f"another runner is still migrating after {patience.runner_timeout_s:.0f} s")
        if not waited:
            tell("waiting for another runner")
        waited = True
        await asyncio.sleep(random.uniform(0.05, 0.3))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.execute("select pg_catalog.pg_advisory_unlock($1)", LOCK)
