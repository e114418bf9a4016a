"""An event that was dead and comes again with its id: never a duplicate, and never two dead letters for one reason."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.waiting import WAITING

OPEN = {"webhook": {"auth": "none"}}
BATTERY = "select battery_level from devices where external_device_id = $1"
DEAD = "select count(*) from rollcall.dead_letters"
ID = {"webhook-id": "x-1"}
ODD = "alter table devices add constraint odd check (battery_level is distinct from 66)"


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(base_url=service.url, timeout=20) as there:
        yield there


async def test_a_retry_of_an_event_that_was_dead_is_not_answered_as_a_duplicate(
    service: Service, client: httpx.AsyncClient
) -> None:
    path = f"/webhooks/{await service.add_webhooks(**OPEN)}"
    for _ in range(3):
        answer = await client.post(path, json={"battery": 1}, headers=ID)
        assert answer.status_code == 400
        assert [one["result"] for one in answer.json()["results"]] == ["dead"]
    assert await service.pool.fetchval(DEAD) == 1
    repaired = await client.post(path, json={"device_id": "fx", "battery": 1}, headers=ID)
    assert [one["result"] for one in repaired.json()["results"]] == ["applied"]
    assert await service.pool.fetchval(BATTERY, "fx") == 1
    again = await client.post(path, json={"device_id": "fx", "battery": 2}, headers=ID)
    assert [one["result"] for one in again.json()["results"]] == ["duplicate"]


async def test_one_dead_event_of_a_batch_comes_again_alone_and_the_others_are_known(
    service: Service, client: httpx.AsyncClient
) -> None:
    path = f"/webhooks/{await service.add_webhooks(**OPEN)}"
    first = [{"device_id": "a", "battery": 1}, {"battery": 2}, {"device_id": "c", "battery": 3}]
    answer = await client.post(path, json=first, headers=ID)
    assert [one["result"] for one in answer.json()["results"]] == ["applied", "dead", "applied"]
    first[1]["device_id"] = "b"
    again = await client.post(path, json=first, headers=ID)
    assert [one["result"] for one in again.json()["results"]] == ["duplicate", "applied", "duplicate"]
    assert await service.pool.fetchval(BATTERY, "b") == 2


async def test_an_event_that_the_database_refused_is_applied_once_it_may_be(
    service: Service, client: httpx.AsyncClient
) -> None:
    path = f"/webhooks/{await service.add_webhooks(**OPEN)}"
    await client.post(path, json={"device_id": "a", "battery": 1})
    await service.pool.execute(ODD)
    body = [{"device_id": "a", "battery": 66}, {"device_id": "b", "battery": 5}]
    refused = await client.post(path, json=body, headers=ID)
    assert [one["result"] for one in refused.json()["results"]] == ["dead", "applied"]
    await service.pool.execute("alter table devices drop constraint odd")
    again = await client.post(path, json=body, headers=ID)
    assert [one["result"] for one in again.json()["results"]] == ["applied", "duplicate"]
    assert await service.pool.fetchval(BATTERY, "a") == 66


async def test_a_second_request_beside_one_that_is_refused_is_not_told_that_all_is_well(
    service: Service, client: httpx.AsyncClient
) -> None:
    path = f"/webhooks/{await service.add_webhooks(**OPEN)}"
    await client.post(path, json={"device_id": "a", "battery": 1})
    await service.pool.execute(ODD)
    body = [{"device_id": "a", "battery": 66}, {"device_id": "b", "battery": 5}]
    async with service.pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("lock table rollcall.device_state in access exclusive mode")
        posts = [asyncio.create_task(client.post(path, json=body, headers=ID)) for _ in range(2)]
        await service.sees(WAITING, 1, "rollcall.apply")
    answers = sorted([await post for post in posts], key=lambda one: one.status_code)
    assert [answer.status_code for answer in answers] == [200, 503]
    assert [one["result"] for one in answers[0].json()["results"]] == ["dead", "applied"]


async def test_the_same_event_twice_in_one_request_is_dead_twice(
    service: Service, client: httpx.AsyncClient
) -> None:
    path = f"/webhooks/{await service.add_webhooks(**OPEN)}"
    await client.post(path, json={"device_id": "d", "battery": 1})
    await service.pool.execute(ODD)
    event = {
        "specversion": "1.0",
        "id": "e",
        "source": "/c",
        "type": "t",
        "subject": "d",
        "data": {"battery": 66},
    }
    other = {**event, "id": "f", "subject": "o", "data": {"battery": 5}}
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = await client.post(path, json=[event, event, other], headers=headers)
    assert [one["result"] for one in answer.json()["results"]] == ["dead", "dead", "applied"]
