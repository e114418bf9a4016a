"""Servers of a test's own, to be killed."""

from collections.abc import Iterator

import pytest

from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.started import started


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with started(MosquittoServer()) as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with started(PostgresServer()) as server:
        yield server
