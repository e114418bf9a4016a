"""The operator's ceilings over the caps that tenants set."""

import base64
from uuid import UUID

import pytest

from ingest.crypto import Keyring
from ingest.integrations.planner import Planner
from ingest.reconcile.plan import plan_of
from ingest.settings import load_settings
from ingest.store.config.integrations import IntegrationRow
from ingest.store.people import integrations, tokens
from ingest.store.people.session import session
from ingest.webhooks.hooks import parse_webhook_settings
from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer

LARGE = {"unknown_devices": {"max_per_minute": 10**9, "max_total": 10**9, "max_parked": 10**9}}
SMALL = {"unknown_devices": {"max_per_minute": 1, "max_total": 2, "max_parked": 3}}
CEILINGS = load_settings(
    database_url="postgres://x", max_created_per_minute=10, max_created=20, max_parked=30
)
KEYS = "k1:" + base64.b64encode(b"1" * 32).decode()
ID = UUID(int=1)


@pytest.mark.parametrize("settings, caps", [(LARGE, (10, 20, 30)), (SMALL, (1, 2, 3))])
def test_no_cap_of_a_row_counts_for_more_than_the_operators(
    settings: dict[str, dict[str, int]], caps: tuple[int, int, int]
) -> None:
    by_mqtt = Planner(CEILINGS, Keyring({})).plan(IntegrationRow(ID, "m", settings)).policy
    _, feed = parse_webhook_settings(CEILINGS, ID, "w", settings)
    row = IntegrationRow(ID, "p", settings, "golioth")
    listed = plan_of(row, CEILINGS).policy
    for policy in (by_mqtt, feed.policy):
        assert (policy.max_per_minute, policy.max_total, policy.max_parked) == caps
    assert (listed.max_total, listed.max_parked) == caps[1:]


async def test_the_api_adds_no_integration_too_many(database: str) -> None:
    async with running(database, None, keys=KEYS, max_integrations=2) as service:
        answers = []
        for slug in ("acme", "other"):
            organization = await service.pool.fetchval(
                "insert into organizations (name, slug) values ($1, $1) returning id", slug
            )
            async with service.pool.acquire() as connection:
                _, token = await tokens.create(connection, organization, "t", ["read", "admin"], None)
            headers = {"authorization": f"Bearer {token}"}
            async with http_client(base_url=service.url, headers=headers) as client:
                for number in range(4):
                    body = {"integrationType": "mqtt", "name": f"m{number}"}
                    answers.append((await client.post("/api/integrations", json=body)).status_code)
    assert answers == [201, 201, 409, 409] * 2


async def test_of_rows_that_others_write_the_oldest_are_served_and_all_of_the_operators(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, max_integrations=3) as service:
        first = await service.add_integration("m0")
        own = UUID(int=7)
        organization = await service.pool.fetchval(
            "select organization_id from device_integrations where id = $1", first
        )
        async with session(database) as connection, connection.transaction():
            wanted = {"host": "127.0.0.1", "port": mosquitto.port}
            await integrations.save(connection, own, organization, "own", wanted, replace=False)
        more = [
            await service.pool.fetchval(
                "insert into device_integrations (organization_id, integration_type, name, settings, created_at)"
                " select organization_id, 'mqtt', $2, settings, now() + make_interval(secs => $3)"
                " from device_integrations where id = $1 returning id",
                first,
                f"m{number}",
                float(number),
            )
            for number in range(1, 4)
        ]
        for integration in (first, more[0], own):
            await service.connected(integration)
        served = "select count(*) from rollcall.mqtt_sessions where integration_id = any ($1)"
        assert await service.pool.fetchval(served, more[1:]) == 0
