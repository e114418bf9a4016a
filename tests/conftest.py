"""Fixtures for every test: a Postgres, a migrated database of one's own, an empty one."""

import asyncio
import itertools
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ingest.migrate.runner import migrate
from tests.servers.postgres import PostgresServer
from tests.servers.started import started

TEMPLATE = "rollcall_template"
LOOPBACK = "127.0.0.0/8,::1/128"
os.environ.setdefault("ROLLCALL_PRIVATE_NETWORKS", LOOPBACK)
"""The servers of these tests are on loopback, and their rows are written as a platform writes them."""
_numbers = itertools.count(1)
_quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=_quiet)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=_quiet)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="2000 examples a property instead of 100")
    parser.addoption(
        "--hostile-payloads", type=int, default=10_000, help="how many payloads the fuzzer makes"
    )
    parser.addoption("--hostile-seed", type=int, default=None, help="repeat the payloads of a run")
    parser.addoption("--faults-minutes", type=float, default=1.0, help="how long the faults go on")
    parser.addoption("--faults-seed", type=int, default=None, help="repeat the faults of a run")


def pytest_configure(config: pytest.Config) -> None:
    chosen = os.environ.get("ROLLCALL_TEST_PROFILE", "default")
    settings.load_profile("thorough" if config.getoption("--thorough") else chosen)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running Postgres, shared by the session: for tests that do not stop it."""
    with started(PostgresServer()) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database without rows, to clone from."""
    postgres_server.psql(f"create database {TEMPLATE}")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(migrate(postgres_server.dsn(TEMPLATE)))
        except BaseException as error:
            failures.append(error)

    # a thread, because the caller may be inside a running event loop
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return TEMPLATE


@pytest.fixture
def database(postgres_server: PostgresServer, template_database: str) -> Iterator[str]:
    """The DSN of a fresh migrated database, dropped at the end."""
    yield from _fresh(postgres_server, f"template {template_database}")


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The DSN of a fresh database with nothing in it, dropped at the end."""
    yield from _fresh(postgres_server, "template template0")


def _fresh(server: PostgresServer, how: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    server.psql(f"create database {name} {how}")
    try:
        yield server.dsn(name)
    finally:
        server.psql(f"drop database if exists {name} with (force)")
