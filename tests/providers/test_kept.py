import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from ingest.errors import Misconfigured
from ingest.providers.cache import ProviderCache


class Made:
    """A provider as far as it is kept: it can be closed."""

    def __init__(self, row: str) -> None:
        self.row = row
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Rows:
    def __init__(self) -> None:
        self.rows: dict[UUID, str] = {}
        self.made: list[Made] = []
        self.reads = 0

    async def read(self, integration_id: UUID) -> str:
        self.reads += 1
        await asyncio.sleep(0)
        try:
            return self.rows[integration_id]
        except KeyError:
            raise Misconfigured("there is no such integration") from None

    def make(self, row: str) -> Any:
        self.made.append(Made(row))
        return self.made[-1]


@pytest.fixture
def rows() -> Rows:
    return Rows()


async def test_one_provider_serves_all_who_ask_at_once(rows: Rows) -> None:
    providers, integration = ProviderCache(rows.read, rows.make), uuid4()
    rows.rows[integration] = "a"
    found = await asyncio.gather(*(providers(integration) for _ in range(20)))
    assert len(set(map(id, found))) == len(rows.made) == rows.reads == 1
    await providers.aclose()
    assert rows.made[0].closed


async def test_a_changed_row_makes_another_and_the_first_goes_on_for_a_while(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.providers.cache.FRESH_S", 0.0)
    providers, integration = ProviderCache(rows.read, rows.make), uuid4()
    rows.rows[integration] = "a"
    first: Any = await providers(integration)
    assert await providers(integration) is first
    rows.rows[integration] = "b"
    second: Any = await providers(integration)
    assert (second.row, first.closed) == ("b", False)
    await asyncio.sleep(0)
    await providers.aclose()
    assert first.closed
    assert second.closed


async def test_an_integration_that_is_gone_or_wrong_is_said(rows: Rows) -> None:
    with pytest.raises(Misconfigured):
        await ProviderCache(rows.read, rows.make)(uuid4())
