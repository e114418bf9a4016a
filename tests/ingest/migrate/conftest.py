"""Databases to migrate."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.ingest.migrate.platforms import BEFORE, WHOLE, build
from tests.servers.postgres import PostgresServer
from tests.servers.started import started

OLDEST = Path("/usr/lib/postgresql/15/bin")


async def run(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    """Run SQL in a connection of its own and return the rows."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


@pytest.fixture
def database_15(postgres_15: PostgresServer) -> Iterator[str]:
    """The DSN of an empty database on `postgres_15`, dropped at the end."""
    postgres_15.psql("create database migrations_test template template0")
    try:
        yield postgres_15.dsn("migrations_test")
    finally:
        postgres_15.psql("drop database migrations_test with (force)")


@pytest.fixture(params=[BEFORE, 2, WHOLE], ids=["before", "halfway", "older"])
async def platform(request: pytest.FixtureRequest, empty_database: str) -> str:
    """The platform's database before the extension, half-way, and with the whole older form of it."""
    await build(empty_database, request.param)
    return empty_database


@pytest.fixture
async def platform_before(empty_database: str) -> str:
    """The platform's database before the extension."""
    await build(empty_database, BEFORE)
    return empty_database


@pytest.fixture
async def empty(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to `empty_database`."""
    connection = await asyncpg.connect(empty_database, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[PostgresServer]:
    """The oldest Postgres that is tested: Debian's, sorting text as people do. Its absence is a failure in CI."""
    if not (OLDEST / "postgres").exists():
        if os.environ.get("CI"):
            pytest.fail("install postgresql-15: the migrations are tested on it")
        pytest.skip("no Postgres 15 here: install Debian's postgresql-15")
    with started(PostgresServer(bin_dir=OLDEST, icu_locale="en-US")) as server:
        yield server
