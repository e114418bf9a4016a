"""A value that the driver itself refuses is bad data: it never counts as an outage, and is never quoted."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from handlers.evidence import Evidence
from ingest.errors import Refused
from ingest.store.apply import Applier
from ingest.store.batch import Batch, Target
from tests.ingest.store.world import DEVICE, World


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        one = World(pool)
        await one.reset()
        yield one


async def test_a_value_that_the_driver_cannot_encode_is_no_outage(world: World) -> None:
    evidence, batch = Evidence(), Batch()
    evidence.battery = (1_700_000_000_000_000, 2**40)
    batch.add(DEVICE, Target(900_000_000), evidence)
    with pytest.raises(Refused) as refused:
        await Applier(world.pool).commit(batch)
    assert str(2**40) not in str(refused.value)
