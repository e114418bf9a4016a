"""Database sessions of commands: an error says what to change."""

import contextlib
import json
from collections.abc import AsyncIterator

import asyncpg

from ingest.errors import DatabaseAway, Misconfigured
from ingest.store.database_url import connectable
from ingest.store.errors import message_of, translated, unusable

_WRONG_URL = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidSchemaNameError)


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection and close it again.

    Raises: Misconfigured when the URL is wrong or the database is not migrated, DatabaseAway when nobody answers,
    Refused when it takes no such value.
    """
    database = connectable(url)
    try:
        connection = await asyncpg.connect(
            database.url, statement_cache_size=0, timeout=database.timeout_s(10), command_timeout=60
        )
    except ValueError as error:
        raise Misconfigured(unusable(error)) from None
    except _WRONG_URL as error:
        raise Misconfigured(f"ROLLCALL_DATABASE_URL does not work: {message_of(error)}") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(f"the database does not answer: {message_of(error)}") from None
    try:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        yield connection
    except _NOT_MIGRATED as error:
        raise Misconfigured(
            f"{message_of(error)}: the database is not migrated, run `rollcall migrate`"
        ) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{message_of(error)}: the role in ROLLCALL_DATABASE_URL may not do this"
        ) from None
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise DatabaseAway(f"the database went away: {message_of(error)}") from None
    except asyncpg.PostgresError as error:
        raise translated(error) from None
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)
