"""A source that ends by what nobody expected costs its integration a moment, and the others nothing."""

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
    look, looks = Slots._look, []

    async def fails_once(self: Slots) -> None:
        looks.append(self)
        if len(looks) == 1:
            raise ValueError("hunter2")
        await look(self)

    monkeypatch.setattr(Slots, "_look", fails_once)
    async with running(database, mosquitto) as service:
        integration = await service.add_integration()
        await service.add_integration("another")
        await service.connected(integration, within_s=20)
    assert "an error in Rollcall: ValueError" in caplog.text
    assert "hunter2" not in caplog.text
