"""Guesses, short secrets, replays, rows of other integrations: what a sender without a good proof may do."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from handlers.events import DeviceKey
from ingest.crypto import Keyring
from ingest.integrations.planner import Planner
from ingest.settings import load_settings
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.config.integrations import IntegrationRow
from ingest.store.people import tokens
from ingest.webhooks.guesses import EVERY_S, MAX_CONCURRENT, Guesses
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.ingest.webhooks.test_auth import hex_of
from tests.ingest.webhooks.test_proof import KEYS, WRONG, proof

SECRET = "s" * 20
OPEN = {"webhook": {"auth": "none"}}
PROVEN = {"webhook": {"auth": "header", "secret": SECRET}}
RIGHT = {"x-webhook-secret": SECRET}
TIMES = "status::text, last_seen_online, last_seen_offline, battery_level, firmware_version"


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


async def _post(
    service: Service, integration: UUID, body: Any, address: str = "127.0.0.1", **headers: str
) -> int:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.post(f"{service.url}/webhooks/{integration}", content=content, headers=headers)
    return answer.status_code


async def test_guesses_are_limited_and_nobody_elses_requests_are(service: Service) -> None:
    guessed = await service.add_webhooks("guessed", **PROVEN)
    other = await service.add_webhooks("other", **PROVEN)
    event = {"device_id": "d", "battery": 7}
    answers = [
        await _post(service, guessed, event, **{"x-webhook-secret": f"guess {number} of many"})
        for number in range(MAX_CONCURRENT + 5)
    ]
    assert answers[:MAX_CONCURRENT] == [401] * MAX_CONCURRENT
    assert answers[-1] == 429
    assert (
        await _post(service, guessed, event, **RIGHT) == 429
    )  # else one guess more would show whether it fits
    assert await _post(service, guessed, event, "127.0.0.2", **RIGHT) == 200
    assert await _post(service, other, event, **RIGHT) == 200


def test_one_who_failed_too_often_may_guess_again_after_a_while() -> None:
    now = 0.0
    guesses = Guesses(lambda: now)
    for _ in range(MAX_CONCURRENT):
        guesses.check("a")  # type: ignore[arg-type]
        guesses.failed("a")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="did not prove"):
        guesses.check("a")  # type: ignore[arg-type]
    now = EVERY_S + 0.1
    guesses.check("a")  # type: ignore[arg-type]
    guesses.failed("a")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="did not prove"):
        guesses.check("a")  # type: ignore[arg-type]


async def test_the_right_secret_is_never_counted(service: Service) -> None:
    integration = await service.add_webhooks(**PROVEN)
    answers = {
        await _post(service, integration, {"device_id": "d", "battery": n % 100}, **RIGHT)
        for n in range(MAX_CONCURRENT * 2)
    }
    assert answers == {200}


@pytest.mark.parametrize(
    "asked",
    [
        {"webhookSecret": "x" * 15},
        {"settings": {"webhook": {"auth": "header", "secret": "short"}}},
        {"settings": {"webhook": {"auth": "header", "secret": "x" * 16, "previous_secret": "x" * 15}}},
    ],
)
async def test_a_short_secret_is_refused_by_the_api(database: str, asked: dict[str, Any]) -> None:
    async with running(database, None, keys=KEYS) as service:
        organization = await service.pool.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        async with service.pool.acquire() as connection:
            _, token = await tokens.create(connection, organization, "t", ["read", "admin"], None)
        body = {"integrationType": "mqtt", "name": "m", **asked}
        async with http_client(base_url=service.url, headers={"authorization": f"Bearer {token}"}) as client:
            refused = await client.post("/api/integrations", json=body)
            assert refused.status_code == 422, refused.text
            assert "at least 16 characters" in refused.text
            assert "x" * 15 not in refused.text
            long = {**body, "webhookSecret": "x" * 16, "settings": {}}
            assert (await client.post("/api/integrations", json=long)).status_code == 201


async def test_a_short_secret_that_is_found_is_warned_about_and_used(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    integration = await service.add_webhooks("plant", webhook={"auth": "header"}, secret="short!")
    assert await _post(service, integration, {"device_id": "d"}, **{"x-webhook-secret": "short!"}) == 200
    told = [one.getMessage() for one in caplog.records if "is short" in one.getMessage()]
    assert told == [
        "integration plant: a secret of its webhooks is short: it must have at least 16 characters"
    ]


async def test_a_replayed_hmac_body_with_a_time_of_its_own_changes_nothing(service: Service) -> None:
    integration = await service.add_webhooks(webhook={"auth": "hmac"}, secret=SECRET)
    now = datetime.now(UTC)
    bodies = [
        orjson.dumps({
            "event": "device.telemetry", "device_id": "d", "timestamp": now - timedelta(minutes=9),
            "telemetry": {"battery": 50, "firmware": "1.0.0"},
        }),
        orjson.dumps({"event": "device.offline", "device_id": "d", "timestamp": now - timedelta(minutes=5)}),
    ]  # fmt: skip
    for body in bodies:
        headers = {"x-webhook-signature": hex_of(SECRET, body)}
        assert await _post(service, integration, body, **headers) == 200
    before = await service.pool.fetchrow(f"select {TIMES} from devices")
    assert before is not None
    assert before["status"] == "offline"
    for body in reversed(bodies):
        assert await _post(service, integration, body, **{"x-webhook-signature": hex_of(SECRET, body)}) == 200
    assert await service.pool.fetchrow(f"select {TIMES} from devices") == before


async def _others_row(service: Service, name: str, **row: Any) -> UUID:
    """Add a device of another integration of the organization that `name` has."""
    found: UUID = await service.pool.fetchval(
        """with n as (insert into device_integrations (organization_id, integration_type, name, status)
            select id, 'golioth', 'other', 'inactive' from organizations where name = $1 returning id, organization_id)
        insert into devices (organization_id, integration_id, external_device_id, serial_number, hardware_ids, name,
            device_type) select organization_id, id, 'theirs', $2, $3, 'x', 'x' from n returning id""",
        name,
        row.get("serial"),
        row.get("hardware"),
    )
    return found


SAID = {"event": "device.telemetry", "device_name": "SN-1", "telemetry": {"battery": 3}}


@pytest.mark.parametrize("settings, headers, proven", [(OPEN, {}, False), (PROVEN, RIGHT, True)])
@pytest.mark.parametrize("policy", ["create", "park", "ignore"])
async def test_a_row_of_another_integration_is_meant_only_by_who_proved_himself(
    service: Service, settings: dict[str, Any], headers: dict[str, str], proven: bool, policy: str
) -> None:
    integration = await service.add_webhooks("ours", unknown_devices=policy, **settings)
    theirs = await _others_row(service, "ours", serial="SN-1")
    await _post(service, integration, SAID, **headers)
    battery = await service.pool.fetchval("select battery_level from devices where id = $1", theirs)
    assert battery == (3 if proven else None)


async def test_what_is_parked_without_a_proof_is_given_to_no_row_of_another_integration(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.pipeline.adoption.EVERY_S", 0.1)
    integration = await service.add_webhooks("ours", unknown_devices="park", **OPEN)
    await _post(service, integration, SAID)
    await _post(service, integration, {**SAID, "device_name": "SN-2"})
    theirs = await _others_row(service, "ours", serial="SN-1")
    organization = await service.pool.fetchval("select organization_id from devices where id = $1", theirs)
    ours = await service.pool.fetchval(
        "insert into devices (organization_id, integration_id, serial_number, name, device_type)"
        " values ($1, $2, 'SN-2', 'x', 'x') returning id",
        organization,
        integration,
    )
    await service.sees("select battery_level from devices where id = $1", 3, ours, within_s=20)
    assert await service.pool.fetchval("select battery_level from devices where id = $1", theirs) is None


LOGINS: list[dict[str, Any]] = [
    {"username": "u"}, {"password": "p"}, {"tls": {"cert": "x", "key": "x"}}, {"tls": {"cert_file": "x.pem"}},
]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"tls": True}, {"tls": {"ca": "x"}}, *LOGINS])
def test_over_mqtt_a_row_of_another_integration_is_meant_only_where_we_log_in(
    settings: dict[str, Any],
) -> None:
    planner = Planner(load_settings(database_url="postgres://x"), Keyring({}))
    plan = planner.plan(IntegrationRow(UUID(int=1), "m", settings))
    assert plan.policy.matches_others is (settings in LOGINS)
    both = planner.plan(IntegrationRow(UUID(int=1), "m", {**settings, **OPEN}))
    assert both.policy.matches_others is False


@pytest.mark.parametrize(
    "key", [DeviceKey("e", "SN-1"), DeviceKey("e", None, ("hw-1",)), DeviceKey(None, "SN-1")]
)
async def test_no_key_means_a_row_of_another_integration_without_a_proof(
    service: Service, key: DeviceKey
) -> None:
    integration = await service.add_webhooks("ours", **OPEN)
    theirs = await _others_row(service, "ours", serial="SN-1", hardware=["hw-1"])
    without = UnknownPolicy("ignore", matches_others=False)
    assert await Identities(service.pool).resolve(integration, [key], without) == {}
    found = await Identities(service.pool).resolve(integration, [key], UnknownPolicy("ignore"))
    assert found == {key: theirs}


async def test_two_lines_of_signatures_count_each(database: str) -> None:
    async with running(database, None) as service:
        secret = "whsec_" + "QUJD" * 8
        integration = await service.add_webhooks(webhook={"auth": "standard_webhooks"}, secret=secret)
        body = b'{"device_id":"d","battery":7}'
        right, wrong = proof("standard_webhooks", secret, body), proof("standard_webhooks", WRONG, body)
        for first, second in ((right, wrong), (wrong, right)):
            lines = [(name, value) for name, value in right.items() if name != "webhook-signature"]
            lines += [("webhook-signature", one["webhook-signature"]) for one in (first, second)]
            async with http_client(base_url=service.url) as client:
                answer = await client.post(f"/webhooks/{integration}", content=body, headers=lines)
            assert answer.status_code == 200
        svix = {name.replace("webhook-", "svix-"): value for name, value in right.items()}
        async with http_client(base_url=service.url) as client:
            again = await client.post(f"/webhooks/{integration}", content=body, headers=svix)
        assert again.json()["results"][0]["result"] == "duplicate"
