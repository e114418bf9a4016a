"""A running API with two organizations."""

from collections.abc import AsyncIterator

import pytest

from tests.ingest.api.world import Organization, World, running


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with running(database) as world:
        yield world


@pytest.fixture
async def acme(world: World) -> Organization:
    return await world.organization("acme")


@pytest.fixture
async def other(world: World) -> Organization:
    return await world.organization("other")
