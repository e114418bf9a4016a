"""The API inside the whole service: what it asks of the rest of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import orjson
import pytest

from ingest.store.people import tokens
from tests.http_client import http_client
from tests.ingest.reconcile.fleet import API_KEY, Fleet
from tests.ingest.service import Service, running
from tests.servers.golioth import Golioth
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until


@pytest.fixture
async def cloud() -> AsyncIterator[Golioth]:
    golioth = Golioth(API_KEY)
    for n in range(5):
        golioth.add(f"g{n}")
    async with golioth.http:
        yield golioth


async def asker(service: Service) -> httpx.AsyncClient:
    """A client with a token of the only organization."""
    async with service.pool.acquire() as connection:
        organization = await connection.fetchval("select id from organizations")
        _, token = await tokens.create(connection, organization, "t", tokens.SCOPES, None)
    return http_client(base_url=service.url, timeout=20, headers={"authorization": f"Bearer {token}"})


async def test_an_integration_in_the_table_is_synchronized_asked_live_and_shown(
    database: str, cloud: Golioth, tmp_path: Path
):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    fleet = await Fleet.make(database, pool, cloud)
    async with running(database, None) as service, await asker(service) as client:
        answer = await client.post(f"/api/integrations/{fleet.integration}/sync", json={"dryRun": True})
        assert answer.status_code in (200, 503), answer.text  # 503: the run at the start is under way
        await service.sees("select count(*) from devices", len(cloud.devices), within_s=20)
        devices = (await client.get("/api/devices")).json()
        (first, *_) = devices["devices"]
        status = (await client.get(f"/api/devices/{first['id']}/status")).json()
        assert status["device"]["id"] == first["id"]
        assert status["firmware"]["version"] == "1.2.3"
        runs = (await client.get(f"/api/integrations/{fleet.integration}/runs")).json()
        assert {run["status"] for run in runs["runs"]} & {"done", "dry"}
        assert (await client.get("/docs")).status_code == 200
        missing = await client.get("/api/nothing")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        unknown = await client.get("/api/devices", headers={"authorization": "Bearer rc_none"})
        assert unknown.status_code == 401
        assert 'rollcall_api_requests_total{status="401"} 1.0' in (await client.get("/metrics")).text
    await pool.close()


async def test_the_platforms_own_story_with_the_reconciler_itself(database: str, cloud: Golioth):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    fleet = await Fleet.make(database, pool, cloud)
    sensor = cloud.add("sensor-1", name="Temperature Sensor 1")
    sensor["metadata"]["update"]["main"]["version"] = "v2.3.1"
    device = await pool.fetchval(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " select organization_id, id, 'sensor-1', 'Temperature Sensor 1', 'sensor' from device_integrations"
        " returning id"
    )
    async with running(database, None) as service, await asker(service) as client:
        path = f"/api/integrations/{fleet.integration}/sync"

        async def synchronized() -> bool:
            answer = await client.post(path, json={"fullSync": True})
            assert answer.status_code in (200, 503), answer.text  # 503: the run at the start is under way
            return answer.status_code == 200 and answer.json()["errors"] == []

        await until(synchronized, 20, "a run on demand")
        status = (await client.get(f"/api/devices/{device}/status")).json()
        assert (status["device"]["name"], status["live"]) == ("Temperature Sensor 1", True)
        row = (await client.get(f"/api/devices/{device}")).json()
        assert (row["hardwareIds"], row["cohortId"]) == (["hw-sensor-1"], "cohort1")
        assert row["lastSeenOnline"] is not None
        history = (await client.get(f"/api/devices/{device}/firmware")).json()["history"]
        assert [(one["version"], one["component"]) for one in history] == [("v2.3.1", "main")]
    await pool.close()


async def test_firmware_for_a_device_of_a_broker_is_a_retained_command_on_its_topic(
    database: str, mosquitto: MosquittoServer
):
    async with running(database, mosquitto) as service:
        integration = await service.add_integration()
        await service.connected(integration)
        await service.publish("devices/d1/telemetry", '{"fw": "1.0.0"}')
        await service.sees("select firmware_version from devices", "1.0.0")
        artifact = await service.pool.fetchval(
            "insert into firmware_artifacts (organization_id, integration_id, external_artifact_id, package_name,"
            " version, component_type) select organization_id, id, 'a2', 'main', '2.0.0', 'main'"
            " from device_integrations returning id"
        )
        device = await service.pool.fetchval("select id from devices")
        async with await asker(service) as client:
            asked = {"artifactId": str(artifact), "componentType": "main"}
            answer = await client.post(f"/api/devices/{device}/deploy-firmware", json=asked)
            assert answer.status_code in (200, 201, 202), answer.text
        command = await retained(mosquitto, "devices/d1/firmware/set")
        assert orjson.loads(command)["version"] == "2.0.0"


async def retained(broker: MosquittoServer, topic: str) -> bytes:
    import aiomqtt

    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe(topic)
        message = await anext(client.messages.__aiter__())
        assert isinstance(message.payload, bytes)
        return message.payload
