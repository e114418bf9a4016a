"""A broker for the tests of the whole service."""

from collections.abc import Iterator

import pytest

from tests.servers.mosquitto import MosquittoServer


@pytest.fixture
def mosquitto() -> Iterator[MosquittoServer]:
    server = MosquittoServer()
    try:
        server.start()
        yield server
    finally:
        server.destroy()
