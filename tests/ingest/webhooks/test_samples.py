"""Every recorded request through a real client, against a running service and a real database."""

from typing import Any

import httpx

from handlers.webhooks.delivery import Request
from tests.handlers.webhooks.samples import SAMPLES, Sample
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.ingest.webhooks.amazon import Amazon, served

SECRET = "a long random text"
HAS_DEVICE = "select count(*) from devices where integration_id = $1 and external_device_id = $2"
DEAD = "select count(*) from rollcall.dead_letters where integration_id = $1"


async def test_every_recorded_request_is_answered_as_it_is_written_beside_it(database: str) -> None:
    amazon = Amazon()
    amazon.answer = lambda _: served(b"")
    async with running(database, None, httpx.MockTransport(amazon)) as service:
        for sample in SAMPLES:
            await assert_answered(service, sample)
    assert [url for url in amazon.asked if "/confirmdestination/" in url]


async def assert_answered(service: Service, sample: Sample) -> None:
    integration = await service.add_webhooks(
        sample.name, webhook={"auth": "header", "shape": sample.shape}, secret=SECRET
    )
    answer = await sent(service, f"/webhooks/{integration}", sample.request)
    if isinstance(sample.wanted, dict):
        assert_shaken(sample, answer)
        return
    wanted = [outcome(event) for event in sample.wanted]
    nothing = bool(wanted) and all(result == "dead" for result, _ in wanted)
    assert answer.status_code == (400 if nothing else 200), (sample.name, answer.text)
    found = [(result["result"], result.get("id")) for result in answer.json()["results"]]
    assert found == wanted, (sample.name, answer.text)
    assert await service.pool.fetchval(DEAD, integration) == sum(r == "dead" for r, _ in wanted), sample.name
    for event in sample.wanted:
        for observation in event.get("observations", ()):
            if external_id := observation["device"].get("external_id"):
                assert await service.pool.fetchval(HAS_DEVICE, integration, external_id) == 1, sample.name
    if any(identity for _, identity in wanted):
        again = await sent(service, f"/webhooks/{integration}", sample.request)
        assert again.status_code == (400 if nothing else 200)
        for result in again.json()["results"]:
            assert result["result"] in ("duplicate", "dead") or "id" not in result, sample.name
        if all(identity for _, identity in wanted):
            dead = sum(r == "dead" for r, _ in wanted)
            assert await service.pool.fetchval(DEAD, integration) == dead, sample.name


async def sent(service: Service, path: str, request: Request) -> httpx.Response:
    async with http_client(base_url=service.url) as client:
        return await client.post(path, content=request.body, headers={**request.headers, "x-api-key": SECRET})


def outcome(event: dict[str, Any]) -> tuple[str, str | None]:
    if "dead" in event:
        return "dead", event["id"]
    return "applied" if event["observations"] else "ignored", event["id"]


def assert_shaken(sample: Sample, answer: httpx.Response) -> None:
    """The recorded subscription confirms no topic in its URL, and so is refused; see test_handshakes."""
    refused = sample.wanted["kind"] == "sns_subscription"
    assert answer.status_code == (401 if refused else 200), (sample.name, answer.text)
    if sample.wanted["kind"] == "azure_validation":
        assert answer.json() == {"validationResponse": sample.wanted["code"]}
