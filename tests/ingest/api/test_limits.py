"""Limits of every request: rate, size, the headers of an answer, and the refusals at the edge."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ingest.api.limits import Buckets
from ingest.problems import Problem
from ingest.store.people import unknown_devices
from ingest.store.tenants import Tenants
from tests.ingest.api.world import Organization, World, running
from tests.ingest.store.world import waits
from tests.waiting import until


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    now = 0.0
    buckets = Buckets(2.0, 3, lambda: now)

    def passes(caller: str) -> bool:
        try:
            buckets.take(caller)
        except Problem as problem:
            return problem.status != 429 or int(problem.headers["retry-after"]) < 1
        return True

    assert [passes("a") for _ in range(4)] == [True, True, True, False]
    assert passes("b")
    now = 0.5
    assert [passes("a") for _ in range(2)] == [True, False]
    now = 1000.0
    assert [passes("a") for _ in range(4)] == [True, True, True, False]


async def test_one_token_is_slowed_down_and_another_is_not(database: str) -> None:
    async with running(database, api_rate_per_s=0.01, api_burst=3) as world:
        acme = await world.organization("acme")
        answers = [await world.get("/api/devices", acme.tokens["read"]) for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert int(answers[3].headers["retry-after"]) > 1
        assert (await world.get("/api/devices", acme.tokens["all"])).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(chunked: bool, world: World, acme: Organization) -> None:
    async def parts() -> Any:
        for _ in range(100):
            yield b" " * 1000

    content = parts() if chunked else b" " * 100_000
    headers = {"content-type": "application/json"}
    path = f"/api/integrations/{acme.integration}/sync"
    answer = await world.ask("POST", path, acme.tokens["all"], content=content, headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.syncs == []


@pytest.mark.parametrize(
    "path, status", [("/api/devices", 200), ("/api/nothing", 404), ("/openapi.json", 200)]
)
async def test_every_answer_carries_the_headers(
    path: str, status: int, world: World, acme: Organization
) -> None:
    answer = await world.get(path, acme.tokens["read"])
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "private" in answer.headers["cache-control"]


async def test_other_origins_are_refused_until_they_are_named(database: str) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "GET"}
    async with running(database) as world:
        answer = await world.ask("OPTIONS", "/api/devices", None, headers=asked)
        assert "access-control-allow-origin" not in answer.headers
    async with running(database, api_cors_origins=["https://app.example"]) as world:
        answer = await world.ask("OPTIONS", "/api/devices", None, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        other = await world.ask(
            "OPTIONS", "/api/devices", None, headers={**asked, "origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "method, path", [("PUT", "/api/devices"), ("GET", "/api/nowhere"), ("GET", "/api/devices/x")]
)
async def test_an_error_is_a_problem(method: str, path: str, world: World, acme: Organization) -> None:
    answer = await world.ask(method, path, acme.tokens["read"])
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert {"type", "title", "status", "detail"} <= problem.keys()


async def test_a_key_that_is_not_known_is_an_error(world: World, acme: Organization) -> None:
    path = f"/api/integrations/{acme.integration}/sync"
    answer = await world.post(path, acme.tokens["all"], {"dryrun": True})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.dryrun"
    assert world.syncs == []


async def test_a_request_is_answered_again_not_done_again_also_at_once(
    world: World, acme: Organization
) -> None:
    path = f"/api/integrations/{acme.integration}/sync"

    async def sync(key: str) -> httpx.Response:
        return await world.post(path, acme.tokens["all"], {}, headers={"idempotency-key": key})

    answers = await asyncio.gather(*(sync("one") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(world.syncs) == 1
    assert (await sync("one")).headers["idempotency-replayed"] == "true"
    assert (await sync("two")).status_code == 200
    assert len(world.syncs) == 2


async def test_a_key_is_free_again_after_a_day_and_after_a_failure(world: World, acme: Organization) -> None:
    path, options = f"/api/devices/{acme.device}/deploy-firmware", {"headers": {"idempotency-key": "k"}}
    body = {"artifactId": str(acme.artifact)}
    assert (await world.post(path, acme.tokens["all"], body, **options)).status_code == 409
    assert await world.pool.fetchval("select count(*) from rollcall.api_requests") == 0
    await world.pool.execute(
        "insert into rollcall.api_requests (organization_id, key, digest, status, created_at)"
        " values ($1, 'k', '', 200, now() - interval '25 hours')",
        acme.id,
    )
    path = f"/api/integrations/{acme.integration}/sync"
    assert (await world.post(path, acme.tokens["all"], {}, **options)).status_code == 200


async def test_while_the_database_is_away_the_answer_says_so(database: str) -> None:
    async with running(database) as world:
        acme = await world.organization("acme")
        await world.pool.execute("alter table rollcall.api_tokens rename to hidden")
        answer = await world.get("/api/devices", acme.tokens["read"])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "api_tokens" not in answer.text
        await world.pool.execute("alter table rollcall.hidden rename to api_tokens")
        assert (await world.get("/api/devices", acme.tokens["read"])).status_code == 200


async def test_an_unknown_device_is_adopted_with_what_it_said(world: World, acme: Organization) -> None:
    await world.pool.execute(
        "update rollcall.parked_devices set evidence = jsonb_set(evidence, '{battery}', '[1767225600000000, 42]')"
    )
    asked = {"integrationId": str(acme.integration), "externalDeviceId": "acme-new"}
    made = await world.post("/api/unknown-devices/adopt", acme.tokens["operate"], asked)
    row = (await world.get(f"/api/devices/{made.json()['deviceId']}", acme.tokens["read"])).json()
    assert (row["externalDeviceId"], row["batteryLevel"]) == ("acme-new", 42)
    assert (await world.get("/api/unknown-devices", acme.tokens["read"])).json()["unknownDevices"] == []
    again = await world.post("/api/unknown-devices/adopt", acme.tokens["operate"], asked)
    assert again.status_code == 404


async def test_who_adopts_an_id_while_another_does_gets_the_same_device(
    world: World, acme: Organization
) -> None:
    tenants = await Tenants.probed(world.pool)
    assert tenants.role is not None

    async def adopt(connection: Any) -> UUID | None:
        return await unknown_devices.adopt(connection, acme.id, acme.integration, "acme-new")

    async def later() -> UUID | None:
        async with tenants.of(acme.id) as connection:
            return await adopt(connection)

    async with tenants.of(acme.id) as connection:
        first = await adopt(connection)
        second = asyncio.create_task(later())
        await until(lambda: waits(world.pool), 10, "the second waits for the first")
    assert await second == first is not None


async def test_an_unknown_id_that_has_a_row_by_now_is_adopted_into_it(
    world: World, acme: Organization
) -> None:
    made = await world.pool.fetchval(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " values ($1, $2, 'acme-new', 'made', 'x') returning id",
        acme.id,
        acme.integration,
    )
    asked = {"integrationId": str(acme.integration), "externalDeviceId": "acme-new"}
    answer = await world.post("/api/unknown-devices/adopt", acme.tokens["operate"], asked)
    assert (answer.status_code, answer.json()["deviceId"]) == (201, str(made))
    assert (
        await world.pool.fetchval("select count(*) from devices where external_device_id = 'acme-new'") == 1
    )


async def test_an_unknown_id_whose_names_mean_two_devices_is_adopted_into_none(
    world: World, acme: Organization
) -> None:
    await world.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " values ($1, $2, 'acme-new', 'made', 'x')",
        acme.id,
        acme.integration,
    )
    await world.pool.execute(
        """update rollcall.parked_devices set key = key || '{"serial_number": "SN-acme-1"}'"""
    )
    asked = {"integrationId": str(acme.integration), "externalDeviceId": "acme-new"}
    answer = await world.post("/api/unknown-devices/adopt", acme.tokens["operate"], asked)
    assert answer.status_code == 409
    assert await world.pool.fetchval("select count(*) from devices") == 2


async def test_an_unknown_id_with_a_serial_number_of_another_organization_is_refused(
    world: World, acme: Organization, other: Organization
) -> None:
    await world.pool.execute(
        """update rollcall.parked_devices set key = key || '{"serial_number": "SN-other-1"}'"""
    )
    asked = {"integrationId": str(acme.integration), "externalDeviceId": "acme-new"}
    answer = await world.post("/api/unknown-devices/adopt", acme.tokens["operate"], asked)
    assert answer.status_code == 409


@pytest.mark.parametrize(
    "value", ['"\\ud800"', "1" * 30, '"a\\u0000"', "[" * 500 + "]" * 500, '{"\\udc00": 1}']
)
async def test_json_that_cannot_be_stored_is_refused(value: str, world: World, acme: Organization) -> None:
    conflict = await world.conflict(acme, uuid4(), "metadata.x", 1, 2)
    headers = {"content-type": "application/json"}
    for path, body in (
        ("/api/integrations", '{"integrationType": "mqtt", "name": "x", "settings": {"more": %s}}'),
        (f"/api/sync/conflicts/{conflict}/resolve", '{"resolution": "custom", "customValue": %s}'),
    ):
        answer = await world.ask("POST", path, acme.tokens["all"], content=body % value, headers=headers)
        assert answer.status_code == 422, answer.text
