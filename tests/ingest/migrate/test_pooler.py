"""Migrating through a pooler: a session of one's own is needed, and its absence is noticed."""

import os
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from ingest.errors import MigrationRefused
from ingest.migrate import migrate
from tests.servers.pgbouncer import PgBouncer, executable
from tests.servers.postgres import PostgresServer

Behind = Callable[[Literal["transaction", "session"]], str]


@pytest.fixture
def behind(postgres_server: PostgresServer, empty_database: str) -> Iterator[Behind]:
    """The address of the empty database behind a pgbouncer in the mode that is asked for."""
    if executable() is None and not os.environ.get("CI"):
        pytest.skip("no pgbouncer here: install Debian's pgbouncer")
    started: list[PgBouncer] = []

    def start(mode: Literal["transaction", "session"]) -> str:
        bouncer = PgBouncer(postgres_server, mode)
        started.append(bouncer)
        bouncer.start()
        return bouncer.dsn(empty_database.rpartition("/")[2])

    yield start
    for bouncer in started:
        bouncer.stop()


async def test_sessions_shared_between_transactions_are_refused(behind: Behind) -> None:
    with pytest.raises(MigrationRefused, match="ROLLCALL_DATABASE_DIRECT_URL"):
        await migrate(behind("transaction"))


async def test_a_pooler_that_gives_whole_sessions_will_do(behind: Behind) -> None:
    assert (await migrate(behind("session"))).applied
