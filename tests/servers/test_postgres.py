from collections.abc import Iterator

import asyncpg
import pytest

from tests.servers.postgres import PostgresServer
from tests.servers.started import started


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with started(PostgresServer(durable=True)) as server:
        yield server


def test_what_was_committed_is_there_after_a_restart_and_after_a_kill(server: PostgresServer) -> None:
    server.psql("create table t as select 1 as one")
    server.restart()
    server.psql("insert into t values (2)")
    server.restart(kill=True)
    assert server.psql("select string_agg(one::text, ' ' order by one) from t") == "1 2"
    assert server.psql("select current_setting('fsync'), current_setting('max_connections')") == "on|100"


async def test_frozen_it_answers_nobody_and_thawed_it_goes_on(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn())
    server.freeze()
    try:
        with pytest.raises(TimeoutError):
            await asyncpg.connect(server.dsn(), timeout=0.3)
    finally:
        server.thaw()
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_the_unix_socket_leads_to_the_same_server(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.socket_dsn())
    try:
        assert await connection.fetchval("show port") == str(server.port)
    finally:
        await connection.close()


def test_a_server_that_cannot_start_says_why() -> None:
    server = PostgresServer(shared_buffers="nonsense")
    try:
        with pytest.raises(RuntimeError, match="shared_buffers"):
            server.start()
    finally:
        server.destroy()
