"""A broker and a pool of connections for the tests of the whole service."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.servers.mosquitto import MosquittoServer
from tests.servers.started import started


@pytest.fixture
def mosquitto() -> Iterator[MosquittoServer]:
    with started(MosquittoServer()) as server:
        yield server


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database, min_size=1, max_size=6) as pool:
        yield pool
