"""The catalog ends when it is told to, whatever it hears at that moment; and a row costs no other row anything."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.catalog import Catalog, View
from ingest.store.config.integrations import ChangeSignal, IntegrationRow, IntegrationRows


class Overheard(IntegrationRows):
    """The rows, and the signal that was handed out."""

    latest: ChangeSignal | None = None

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[ChangeSignal]:
        """Listen as ever."""
        async with super().changes() as changes:
            self.latest = changes
            yield changes


async def test_a_change_at_the_moment_of_the_end_does_not_keep_it_going(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        rows = Overheard(pool, database)
        catalog = Catalog(rows, Keyring({}), random.Random(1))
        view = catalog.view(lambda row: True, lambda row: row.name)
        running = asyncio.create_task(catalog.run())
        await asyncio.wait_for(view.read_again(), 10)
        await asyncio.sleep(0)
        assert rows.latest is not None
        rows.latest.changed.set()
        await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=5)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        assert done


def test_a_view_parses_a_row_once_for_each_change_and_isolates_a_wrong_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parsed: list[str] = []

    def parse(row: IntegrationRow) -> str:
        parsed.append(row.name)
        if row.name == "wrong":
            raise Misconfigured("integration 'wrong': host: expected a name")
        if row.name == "broken":
            raise KeyError("hunter2")
        return row.name.upper()

    view = View(lambda row: row.integration_type == "mqtt", parse)
    rows = [IntegrationRow(UUID(int=n), name, {}) for n, name in enumerate(("good", "wrong", "broken"))]
    other = IntegrationRow(UUID(int=9), "cloud", {}, "golioth")
    view.update([*rows, other])
    view.update([*rows, other])
    assert parsed == ["good", "wrong", "broken"]
    assert view.valid == {UUID(int=0): "GOOD"}
    assert {fault.name: fault.reason for fault in view.faults.values()} == {
        "wrong": "integration 'wrong': host: expected a name",
        "broken": "integration 'broken': an error in Rollcall: KeyError",
    }
    assert "hunter2" not in caplog.text
    view.update([IntegrationRow(UUID(int=1), "mended", {})])
    assert view.valid == {UUID(int=1): "MENDED"}
    assert not view.faults
