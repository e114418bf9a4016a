"""Each provider in turn, with its cloud."""

from collections.abc import AsyncIterator

import pytest

from tests.providers.worlds import WORLDS, Opened, World

CLOUDS = [name for name in WORLDS if name != "mqtt"]


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every provider in turn."""
    async with Opened(request.param) as opened:
        yield opened


@pytest.fixture(params=CLOUDS)
async def cloud(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every provider that is asked over HTTP in turn."""
    async with Opened(request.param) as opened:
        yield opened
