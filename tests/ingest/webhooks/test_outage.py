"""A database that goes away and a process that is killed: nothing that was answered is lost, nothing counts twice."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from ingest.migrate.runner import migrate
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.postgres import PostgresServer
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started
from tests.waiting import until

OPEN = {"webhook": {"auth": "none"}}
CLOUDEVENT = {"content-type": "application/cloudevents+json"}
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/cloud/a",
    "type": "reading",
    "subject": "dev-1",
    "data": {"battery": 5},
}
DEVICE = "select battery_level, last_seen_online from devices where external_device_id = 'dev-1'"


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with started(PostgresServer()) as server:
        yield server


async def test_while_the_database_is_away_senders_are_told_to_come_again_and_then_it_goes_on(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.webhooks.submissions.ANSWER_WITHIN_S", 2.0)
    monkeypatch.setattr("ingest.http.health.FRESH_S", 0.0)
    await migrate(postgres.dsn())
    async with running(postgres.dsn(), None) as service:
        path = f"{service.url}/webhooks/{await service.add_webhooks(**OPEN)}"
        async with http_client(timeout=20) as client:
            before = await client.post(path, json={"device_id": "a", "battery": 1})
            assert before.status_code == 200
            assert (await client.get(f"{service.url}/readyz")).status_code == 200
            postgres.stop()
            await assert_busy_at_once(service, client, path)
            postgres.start()

            async def taken() -> bool:
                return (await client.post(path, json=EVENT, headers=CLOUDEVENT)).status_code == 200

            await until(taken, 15, "events are taken again")
            again = await client.post(path, json=EVENT, headers=CLOUDEVENT)
            assert again.json()["results"][0]["result"] == "duplicate"
            await service.sees("select count(*) from devices where battery_level in (2, 5)", 2)
            assert (await client.get(f"{service.url}/readyz")).status_code == 200
            assert await service.pool.fetchval("select count(*) from rollcall.dead_letters") == 0


async def assert_busy_at_once(service: Service, client: httpx.AsyncClient, path: str) -> None:
    first = await client.post(path, json={"device_id": "b", "battery": 2})
    assert first.status_code == 503
    began = time.monotonic()
    next_one = await client.post(path, json={"device_id": "b", "battery": 3})
    assert time.monotonic() - began < 1.5
    assert next_one.status_code == 503
    assert next_one.headers["content-type"] == "application/problem+json"
    assert 1 <= int(next_one.headers["retry-after"]) <= 10
    ready = await client.get(f"{service.url}/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["database"]["outage"]
    assert (await client.get(f"{service.url}/healthz")).status_code == 200
    assert "rollcall_database_outage 1.0" in (await client.get(f"{service.url}/metrics")).text


async def test_killed_between_commit_and_answer_the_event_that_comes_again_is_applied_once(
    database: str, tmp_path: Path
) -> None:
    rollcall = RollcallProcess(database, tmp_path / "log", ROLLCALL_MQTT="off")
    connection = await asyncpg.connect(database)
    try:
        integration = await connection.fetchval(
            """with o as (insert into organizations (name, slug) values ('o', 'o') returning id)
            insert into device_integrations (organization_id, integration_type, name, settings, webhook_enabled)
            select id, 'golioth', 'w', $1, true from o returning id""",
            orjson.dumps(OPEN).decode(),
        )
        rollcall.start()
        await until_ready(await url_of(rollcall))
        await send_and_leave(await url_of(rollcall), integration)

        async def committed() -> bool:
            return bool(await connection.fetchval("select count(*) from rollcall.webhook_events"))

        await until(committed, 10, "the event is committed")
        rollcall.kill9()
        before = await connection.fetchrow(DEVICE)
        rollcall.log.unlink()
        rollcall.start()
        url = await url_of(rollcall)
        await until_ready(url)
        again = await post_until_known(url, integration)
        assert again.json()["results"][0]["result"] == "duplicate"
        assert await connection.fetchrow(DEVICE) == before
        assert before["battery_level"] == 5
        assert rollcall.stop() == 0
    finally:
        rollcall.kill9()
        await connection.close()


async def test_what_is_in_hand_is_committed_and_answered_when_the_service_stops(database: str) -> None:
    blocker = await asyncpg.connect(database)
    try:
        async with http_client(timeout=20) as client:
            async with running(database, None) as service:
                path = f"{service.url}/webhooks/{await service.add_webhooks(**OPEN)}"
                port = int(service.url.rsplit(":", 1)[1])
                transaction = blocker.transaction()
                await transaction.start()
                await blocker.execute("lock table devices in access exclusive mode")
                posting = asyncio.create_task(client.post(path, json={"device_id": "a", "battery": 1}))
                await until(lambda: _is_waiting(client, service), 10, "the event waits for its commit")
                releasing = asyncio.create_task(_once_closed(port, transaction.rollback))
            await releasing
            assert (await posting).status_code == 200
        assert await blocker.fetchval("select battery_level from devices") == 1
    finally:
        await blocker.close()


async def _is_waiting(client: httpx.AsyncClient, service: Service) -> bool:
    return "rollcall_waiting_messages 1.0" in (await client.get(f"{service.url}/metrics")).text


async def _once_closed(port: int, then: Callable[[], Awaitable[None]]) -> None:
    async def closed() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return True
        writer.close()
        return False

    await until(closed, 10, "nothing more is accepted")
    await then()


async def url_of(rollcall: RollcallProcess) -> str:
    found: Any = None

    async def said() -> bool:
        nonlocal found
        found = re.search(r"HTTP listens on (http://\S+)", rollcall.log.read_text())
        return found is not None

    await until(said, 15, "the log says where HTTP listens")
    return str(found.group(1))


async def until_ready(url: str) -> None:
    async def ready() -> bool:
        async with http_client() as client:
            return (await client.get(f"{url}/readyz")).status_code == 200

    await until(ready, 10, "it is ready")


async def send_and_leave(url: str, integration: object) -> None:
    """Send the event and close without reading an answer, once the service knows the integration."""
    async with http_client() as client:

        async def known() -> bool:
            return (await client.options(f"{url}/webhooks/{integration}")).status_code == 400

        await until(known, 10, "the service knows the integration")
    body = orjson.dumps(EVENT)
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    head = f"POST /webhooks/{integration} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def post_until_known(url: str, integration: object) -> httpx.Response:
    async with http_client() as client, asyncio.timeout(10):
        while True:
            answer = await client.post(f"{url}/webhooks/{integration}", json=EVENT, headers=CLOUDEVENT)
            if answer.status_code == 200:
                return answer
            await asyncio.sleep(0.05)
