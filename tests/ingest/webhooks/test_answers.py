"""Answers to senders: a result per event, duplicates, handshakes, and problems that name what to change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.ingest.webhooks.amazon import SUBSCRIBE, TOPIC, Amazon, confirmation, message, pem, served, signed

OPEN = {"webhook": {"auth": "none"}}
BATTERY = "select battery_level from devices where external_device_id = $1"
DEAD = "select kind, payload, topic, session, headers from rollcall.dead_letters"
EVENT = {"specversion": "1.0", "id": "e-1", "source": "/cloud/a", "type": "reading", "subject": "dev-1"}
CLOUDEVENT = {"content-type": "application/cloudevents+json"}


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(base_url=service.url, timeout=20) as there:
        yield there


def results(answer: httpx.Response) -> list[str]:
    return [result["result"] for result in answer.json()["results"]]


async def test_a_batch_with_one_bad_event_commits_the_others_and_says_so(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = await service.add_webhooks(**OPEN)
    body = [{"device_id": "a", "battery": 1}, {"battery": 2}, {"device_id": "c", "battery": 300, "temp": 1}]
    answer = await client.post(f"/webhooks/{integration}", json=body)
    assert answer.status_code == 200
    first, second, third = answer.json()["results"]
    assert first == {"result": "applied"}
    assert (second["result"], second["kind"]) == ("dead", "device_id")
    assert (third["result"], third["fieldErrors"][0]["field"]) == ("applied", "battery")
    assert await service.pool.fetchval(BATTERY, "a") == 1
    (row,) = await service.pool.fetch(DEAD)
    assert (row["kind"], row["payload"], row["session"]) == ("device_id", b'{"battery":2}', "webhook")
    assert row["topic"] == f"/webhooks/{integration}"


async def test_what_means_nothing_is_answered_400_and_kept(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = await service.add_webhooks(**OPEN)
    answer = await client.post(f"/webhooks/{integration}", content=b"{broken")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("nothing in the body was understood: ")
    (row,) = await service.pool.fetch(DEAD)
    assert row["payload"] == b"{broken"


async def test_an_empty_batch_holds_no_event(service: Service, client: httpx.AsyncClient) -> None:
    integration = await service.add_webhooks(webhook={"auth": "none", "shape": "cloudevents"})
    answer = await client.post(f"/webhooks/{integration}", content=b"[]")
    assert (answer.status_code, answer.json()) == (200, {"results": []})


async def test_an_event_that_the_database_refuses_is_dead_and_those_beside_it_are_applied(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = await service.add_webhooks(**OPEN)
    await service.pool.execute(
        "alter table devices add constraint odd check (battery_level is distinct from 66)"
    )
    body = [{"device_id": f"d{n}", "battery": n} for n in range(60, 70)]
    answer = await client.post(f"/webhooks/{integration}", json=body)
    assert answer.status_code == 200
    assert results(answer) == ["dead" if n == 66 else "applied" for n in range(60, 70)]
    assert answer.json()["results"][6]["kind"] == "refused.23514"
    (row,) = await service.pool.fetch(DEAD)
    assert row["payload"] == b'{"device_id":"d66","battery":66}'
    assert await service.pool.fetchval(BATTERY, "d65") == 65


async def test_an_event_that_comes_again_is_answered_and_not_applied(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = await service.add_webhooks(**OPEN)
    path = f"/webhooks/{integration}"
    first = await client.post(path, json={**EVENT, "data": {"battery": 20}}, headers=CLOUDEVENT)
    again = await client.post(path, json={**EVENT, "data": {"battery": 21}}, headers=CLOUDEVENT)
    assert (results(first), results(again)) == (["applied"], ["duplicate"])
    assert await service.pool.fetchval(BATTERY, "dev-1") == 20


async def test_the_same_event_in_many_requests_at_once_is_applied_once(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = await service.add_webhooks(**OPEN)
    path = f"/webhooks/{integration}"
    body = [{**EVENT, "data": {"battery": 20}}] * 2
    headers = {"content-type": "application/cloudevents-batch+json"}
    answers = await asyncio.gather(*(client.post(path, json=body, headers=headers) for _ in range(30)))
    told = [result for answer in answers for result in results(answer)]
    assert sorted(told) == ["applied"] + ["duplicate"] * 59


async def test_the_integration_may_be_named_in_a_header_or_the_query(
    service: Service, client: httpx.AsyncClient
) -> None:
    integration = str(await service.add_webhooks(**OPEN))
    body = {"device_id": "a", "battery": 1}
    for answer in (
        await client.post("/webhooks", json=body, headers={"X-Integration-ID": integration.upper()}),
        await client.post("/webhooks", json=body, params={"integration_id": integration}),
    ):
        assert results(answer) == ["applied"]
    assert (await client.post("/webhooks", json=body)).status_code == 400


@pytest.mark.parametrize("change", ["status = 'inactive'", "webhook_enabled = false, name = 'x'"])
async def test_an_integration_that_takes_no_webhooks_any_more_is_not_found(
    service: Service, client: httpx.AsyncClient, change: str
) -> None:
    integration = await service.add_webhooks(**OPEN)
    await service.pool.execute(f"update device_integrations set {change}")
    async with asyncio.timeout(5):
        while (answer := await client.post(f"/webhooks/{integration}", json={})).status_code != 404:
            await asyncio.sleep(0.05)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.post("/webhooks/nothing", json={})).status_code == 404


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"webhook": 5},
        {"webhook": {"auth": "magic"}},
        {**OPEN, "liveness": "x"},
        {"webhook": {"auth": "header"}},
    ],
)
async def test_wrong_settings_are_said_in_the_log_and_hurt_nobody_else(
    service: Service, client: httpx.AsyncClient, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good = await service.add_webhooks("good", **OPEN)
    wrong = await service.add_webhooks("wrong", **settings)
    answer = await client.post(f"/webhooks/{wrong}", json={"device_id": "a"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "integration 'wrong': " in caplog.text
    assert results(await client.post(f"/webhooks/{good}", json={"device_id": "a"})) == ["applied"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "image/png"},
    ],
)
async def test_what_is_surely_no_event_is_an_unsupported_media_type(
    service: Service, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    integration = await service.add_webhooks(**OPEN)
    answer = await client.post(f"/webhooks/{integration}", content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["title"] == "Unsupported Media Type"


async def test_azure_may_ask_whether_it_may_send(service: Service, client: httpx.AsyncClient) -> None:
    integration = await service.add_webhooks(**OPEN)
    asked = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    answer = await client.options(f"/webhooks/{integration}", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    strange = {"WebHook-Request-Origin": "a b"}
    assert (await client.options(f"/webhooks/{integration}", headers=strange)).status_code == 400
    assert (await client.options("/webhooks/nothing", headers=asked)).status_code == 404


async def test_amazon_signs_its_messages_and_its_subscription_is_confirmed(database: str) -> None:
    amazon = Amazon()
    amazon.answer = lambda _: served(pem(days=30_000))
    lifecycle = (
        '{"clientId": "pump-1", "eventType": "connected", "timestamp": 1771174800123, "versionNumber": 4}'
    )
    async with running(database, None, httpx.MockTransport(amazon)) as service:
        path = f"/webhooks/{await service.add_webhooks(webhook={'auth': 'sns', 'topic_arns': [TOPIC]})}"
        async with http_client(base_url=service.url) as client:
            confirmed = await client.post(path, content=signed(confirmation()))
            assert (confirmed.status_code, confirmed.json()) == (200, {})
            assert SUBSCRIBE in amazon.asked
            told = await client.post(path, content=signed(message(Message=lifecycle)))
            assert results(told) == ["applied"]
            forged = await client.post(path, json=confirmation(Signature="AAAA"))
            assert forged.status_code == 401
            amazon.answer = lambda _: httpx.Response(503)
            assert amazon.asked.count(SUBSCRIBE) == 1
            away = await client.post(path, content=signed(confirmation()))
            assert away.status_code == 503
            assert away.headers["retry-after"]


async def test_a_rules_destination_is_confirmed_without_a_secret_and_only_at_amazons_host(
    database: str,
) -> None:
    amazon = Amazon()
    amazon.answer = lambda _: served(b"")
    url = "https://iot.us-east-1.amazonaws.com/confirmdestination/AYAD"
    asked = {"messageType": "DestinationConfirmation", "arn": "a", "confirmationToken": "AYAD"}
    async with running(database, None, httpx.MockTransport(amazon)) as service:
        integration = await service.add_webhooks(webhook={"auth": "header"}, secret="s" * 20)
        async with http_client(base_url=service.url) as client:
            path = f"/webhooks/{integration}"
            assert (await client.post(path, json={**asked, "enableUrl": url})).status_code == 200
            assert amazon.asked == [url]
            elsewhere = {**asked, "enableUrl": "https://example.com/confirmdestination/AYAD"}
            assert (await client.post(path, json=elsewhere)).status_code == 401
            assert amazon.asked == [url]
            event = {"device_id": "a", "note": "DestinationConfirmation"}
            assert (await client.post(path, json=event)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/webhooks//"), ("POST", "/webhooks/a/b"), ("POST", "/webhooksome"), ("GET", "/webhooks/a")],
)
async def test_what_only_looks_like_the_route_is_nowhere(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_nobody_expected_is_answered_as_a_problem_and_logged(
    service: Service,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    integration = await service.add_webhooks(**OPEN)

    def broken(*_: object) -> None:
        raise RuntimeError("the cause")

    monkeypatch.setattr("ingest.webhooks.route.decode", broken)
    answer = await client.post(f"/webhooks/{integration}", json={"device_id": "a"})
    assert (answer.status_code, answer.json()["title"]) == (500, "Internal Server Error")
    assert "the cause" not in answer.text
    assert "the cause" in caplog.text


async def test_what_is_answered_too_late_is_committed_once_however_often_it_comes(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = await service.add_webhooks(**OPEN)
    event = {**EVENT, "data": {"battery": 20}}
    path = f"/webhooks/{integration}"
    monkeypatch.setattr("ingest.webhooks.submissions.ANSWER_WITHIN_S", 0.3)
    async with service.pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("lock table devices in access exclusive mode")
        first = await client.post(path, json=event, headers=CLOUDEVENT)
        meanwhile = await client.post(path, json={**event, "data": {"battery": 21}}, headers=CLOUDEVENT)
        assert (first.status_code, meanwhile.status_code) == (503, 503)
        assert "not committed yet" in first.json()["detail"]
    await service.sees(BATTERY, 20, "dev-1")
    again = await client.post(path, json={**event, "data": {"battery": 22}}, headers=CLOUDEVENT)
    assert results(again) == ["duplicate"]
    assert await service.pool.fetchval(BATTERY, "dev-1") == 20
