"""Servers of the faults' own, and as much time as was asked for."""

from collections.abc import Iterator

import pytest

from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer

AROUND_S = 120
"""Starting, recovering, comparing."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    minutes = config.getoption("--faults-minutes")
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.timeout(minutes * 60 + AROUND_S))


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    server = MosquittoServer("autosave_interval 1")
    try:
        server.start()
        yield server
    finally:
        server.thaw_if_running()
        server.destroy()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(max_connections="70")
    try:
        server.start()
        yield server
    finally:
        server.destroy()
