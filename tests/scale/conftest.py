"""A broker and as many replicas as a test wants."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.replicas import Replicas
from tests.servers.mosquitto import MosquittoServer
from tests.servers.started import started


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with started(MosquittoServer()) as server:
        yield server


@pytest.fixture
def replicas(database: str, tmp_path: Path) -> Iterator[Replicas]:
    found = Replicas(database, tmp_path)
    try:
        yield found
    finally:
        for one in found.processes:
            one.kill9()
