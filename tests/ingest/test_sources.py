"""A source that ends by what nobody expected costs its integration a moment, and the others nothing."""

import asyncio

import pytest

from ingest.slots.slots import Slots
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer


async def test_a_source_that_has_ended_by_itself_is_started_again(
    database: str,
    mosquitto: MosquittoServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    look, failed = Slots._look, asyncio.Event()

    async def fails_once(self: Slots) -> None:
        if not failed.is_set():
            failed.set()
            raise ValueError("hunter2")
        await look(self)

    monkeypatch.setattr(Slots, "_look", fails_once)
    async with running(database, mosquitto) as service:
        integration = await service.add_integration()
        async with asyncio.timeout(10):
            await failed.wait()
        await service.add_integration("another")  # the rows are read again
        await service.connected(integration, within_s=20)
    assert "an error in Rollcall: ValueError" in caplog.text
    assert "hunter2" not in caplog.text
