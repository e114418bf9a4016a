"""A small fleet at the fake Golioth."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.ingest.reconcile.fleet import API_KEY, Fleet
from tests.servers.golioth import Golioth


@pytest.fixture
async def cloud() -> AsyncIterator[Golioth]:
    cloud = Golioth(API_KEY)
    async with cloud.http:
        yield cloud


@pytest.fixture
async def fleet(database: str, pool: asyncpg.Pool, cloud: Golioth) -> Fleet:
    """Ten devices, in pages of two, nothing of them known yet."""
    cloud.per_page = 2
    for number in range(10):
        cloud.add(f"d{number}")
    return await Fleet.make(database, pool, cloud)
