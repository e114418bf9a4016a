"""Rows after webhook events: identity by serial number, facts, ordered connection events, replay."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http_client import http_client
from tests.ingest.pipeline.test_replay import _replay
from tests.ingest.service import Service, running

OPEN = {"webhook": {"auth": "none"}}
SERIAL = "M260600008"
ROW = "select * from devices where serial_number = $1"


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


async def post(service: Service, integration: Any, *events: Any, **headers: str) -> None:
    async with http_client(timeout=20) as client:
        for event in events:
            answer = await client.post(f"{service.url}/webhooks/{integration}", json=event, headers=headers)
            assert answer.status_code == 200, answer.text
            assert {one["result"] for one in answer.json()["results"]} == {"applied"}, answer.text


async def test_the_platforms_golioth_events_meet_in_the_row_of_their_serial_number(service: Service):
    integration = await service.add_webhooks(kind="golioth", **OPEN)
    await post(
        service,
        integration,
        {"event": "device.created", "timestamp": "2026-02-15T16:00:00Z",
         "device": {"id": "g1", "name": SERIAL, "tags": ["pump"], "metadata": {"site": "north"}}},
        {"event": "device.telemetry", "timestamp": "2026-02-15T17:00:01Z", "device_name": SERIAL, "telemetry": {
            "type": 2, "units": 3, "value": 78.3, "sensor": "SHT40", "timestamp": "2026-02-15T17:00:00Z"}},
        {"event": "device.online", "timestamp": "2026-02-15T17:01:00Z", "device_name": SERIAL},
    )  # fmt: skip
    assert await service.pool.fetchval("select count(*) from devices") == 1
    row = await service.pool.fetchrow(ROW, SERIAL)
    assert (row["status"], row["external_device_id"]) == ("online", "g1")
    await post(
        service,
        integration,
        {"event": "device.offline", "timestamp": "2026-02-15T18:00:00Z", "device_name": SERIAL},
    )
    row = await service.pool.fetchrow(ROW, SERIAL)
    assert (row["status"], row["last_seen_offline"].isoformat()) == ("offline", "2026-02-15T18:00:00+00:00")
    await post(
        service,
        integration,
        {"event": "device.deleted", "timestamp": "2026-02-15T19:00:00Z", "device_name": SERIAL},
    )
    assert await service.pool.fetchval("select count(*) from devices") == 1
    assert (
        await service.pool.fetchval("select count(*) from rollcall.device_events where kind = 'deleted'") == 1
    )


async def test_aws_lifecycle_events_that_come_twice_and_in_the_wrong_order_leave_the_truth(service: Service):
    integration = await service.add_webhooks(kind="aws_iot", **OPEN)
    at = 1_767_225_600_000

    def event(kind: str, version: int, ms: int) -> dict[str, object]:
        return {"clientId": "d1", "eventType": kind, "versionNumber": version, "timestamp": at + ms}

    taken_over = event("disconnected", 5, 900)
    await post(
        service, integration, event("connected", 6, 300), taken_over, event("connected", 5, 0), taken_over
    )
    status = "select status::text from devices where external_device_id = 'd1'"
    assert await service.pool.fetchval(status) == "online"
    await post(service, integration, event("disconnected", 6, 60_000), event("connected", 6, 300))
    assert await service.pool.fetchval(status) == "offline"


async def test_a_dead_letter_of_a_webhook_is_replayed_with_the_headers_that_decide_what_it_means(
    service: Service, database: str
):
    integration = await service.add_webhooks(kind="golioth", **OPEN)
    await service.pool.execute("alter table devices add constraint odd check (battery_level <> 13)")
    async with http_client(timeout=20) as client:
        headers = {
            "ce-source": "g1",
            "ce-type": "io.golioth.data.v1/.s/sensor",
            "content-type": "application/json",
        }
        answer = await client.post(
            f"{service.url}/webhooks/{integration}", content=b'{"battery": 13}', headers=headers
        )
    assert answer.json()["results"][0]["result"] == "dead"
    await service.pool.execute("alter table devices drop constraint odd")
    letter = await service.pool.fetchval("select id from rollcall.dead_letters")
    code, said = await _replay(database, str(letter))
    assert (code, "applied" in said) == (0, True), said
    assert await service.pool.fetchval("select battery_level from devices") == 13
    assert await service.pool.fetchval("select count(*) from rollcall.dead_letters") == 0
