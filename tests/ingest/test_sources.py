"""A source that ends by what nobody expected costs its integration a moment, and the others nothing."""

import asyncio

import pytest

from ingest.sessions.slots import Slots
from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

CONNECTED = "select count(*) from rollcall.mqtt_sessions where integration_id = $1 and state = 'connected'"


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

        async def is_connected_again() -> bool:
            await service.pool.execute(
                "select pg_notify('rollcall_integrations', '')"
            )  # the rows are read again
            return bool(await service.pool.fetchval(CONNECTED, integration))

        await until(is_connected_again, 20, "its source is started again")
    assert "an error in Rollcall: ValueError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_settings_too_deep_to_read_cost_their_row_alone(database: str) -> None:
    async with running(database, None) as service:
        good = await service.add_webhooks("good", webhook={"auth": "none"})
        deep = await service.add_webhooks("deep", webhook={"auth": "none"})
        await service.pool.execute(
            "update device_integrations set settings = (repeat('[', 2000) || repeat(']', 2000))::jsonb where id = $1",
            deep,
        )
        async with http_client(base_url=service.url) as client:

            async def refused() -> bool:
                answer = await client.post(f"/webhooks/{deep}", json={"device_id": "d", "battery": 1})
                return answer.status_code >= 400

            await until(refused, 20, "its settings are read again")
            answer = await client.post(f"/webhooks/{good}", json={"device_id": "d", "battery": 1})
        assert answer.status_code == 200
