"""Servers of a test's own, to be killed."""

from collections.abc import Iterator

import pytest

from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    server = MosquittoServer()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.destroy()
