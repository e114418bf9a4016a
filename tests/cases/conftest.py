"""A broker for the cases."""

from collections.abc import Iterator

import pytest

from tests.servers.mosquitto import MosquittoServer
from tests.servers.started import started


@pytest.fixture
def mosquitto() -> Iterator[MosquittoServer]:
    with started(MosquittoServer()) as server:
        yield server
