"""Creating, changing and testing integrations, tokens and credentials leaves who did it, and from where."""

import getpass
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ingest.cli import main
from ingest.http.proxies import behind_proxies
from ingest.settings import load_settings
from ingest.store.commit.retention import AUDIT_KEPT_DAYS, EVENTS_KEPT_DAYS, Retention
from ingest.store.people import tokens
from ingest.webhooks.guesses import MAX_CONCURRENT
from tests.http_client import http_client
from tests.ingest.service import Service, running

KEYS = "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
PROXY = {"trusted_proxies": "127.0.0.0/8,10.0.0.0/8", "keys": KEYS}
SENDER = {"x-forwarded-for": "203.0.113.9, 198.51.100.7, 10.1.2.3"}
"""198.51.100.7 came to the proxy 10.1.2.3; what stands before it is the sender's own invention."""


async def caller(service: Service) -> tuple[UUID, dict[str, str]]:
    """An organization, and the headers of a token that may do everything."""
    organization = await service.pool.fetchval(
        "insert into organizations (name, slug) values ('acme', 'acme') returning id"
    )
    _, token = await tokens.create(service.pool, organization, "ci", tokens.SCOPES, None)
    return organization, {"authorization": f"Bearer {token}", "user-agent": "curl/8", **SENDER}


async def trail(service: Service) -> list[tuple[Any, ...]]:
    rows = await service.pool.fetch("select action, name, address, agent from rollcall.audit order by id")
    return [tuple(row) for row in rows]


async def test_no_change_through_the_api_is_without_its_actor_and_his_address(database: str) -> None:
    async with running(database, None, **PROXY) as service, http_client(base_url=service.url) as client:
        organization, headers = await caller(service)
        body = {"integrationType": "mqtt", "name": "plant", "settings": {"host": "192.0.2.1"}}
        made = await client.post("/api/integrations", json=body, headers=headers)
        assert made.status_code == 201, made.text
        integration = made.json()["id"]
        await client.post(f"/api/integrations/{integration}/test", headers=headers)
        device = await service.pool.fetchval(
            "insert into devices (organization_id, name, device_type) values ($1, 'd', 'x') returning id",
            organization,
        )
        url = f"/api/devices/{device}/credentials"
        secret = {"credentialType": "TOKEN", "identity": "d", "secret": "hunter2"}
        credential = (await client.post(url, json=secret, headers=headers)).json()["credentialId"]
        await client.post(f"{url}/decrypt", json={"credentialId": credential}, headers=headers)
        assert (await client.delete(f"{url}/{credential}", headers=headers)).status_code == 204
        here = ("198.51.100.7", "curl/8")
        assert (await trail(service))[1:] == [
            ("integration.created", "plant", *here),
            ("integration.tested", "plant", *here),
            ("credential.created", "d", *here),
            ("credential.read", "d", *here),
            ("credential.revoked", "d", *here),
        ]
        by = await service.pool.fetch("select distinct actor from rollcall.audit where address = $1", here[0])
        assert [row["actor"].startswith("token ci (") for row in by] == [True]
        whole = await service.pool.fetchval("select string_agg(a::text, '') from rollcall.audit a")
        assert "hunter2" not in whole


async def test_a_sender_who_is_behind_no_trusted_proxy_names_nobody_else(database: str) -> None:
    async with running(database, None, keys=KEYS) as service, http_client(base_url=service.url) as client:
        _, headers = await caller(service)
        body = {"integrationType": "mqtt", "name": "plant", "settings": {"host": "192.0.2.1"}}
        assert (await client.post("/api/integrations", json=body, headers=headers)).status_code == 201
        assert (await trail(service))[-1][2] == "127.0.0.1"


async def test_who_guesses_behind_a_proxy_shuts_nobody_else_out(database: str) -> None:
    async with running(database, None, **PROXY) as service, http_client(base_url=service.url) as client:
        secret = "a secret that is long"
        hook = await service.add_webhooks(webhook={"auth": "bearer", "secret": secret})
        event = {"event": "device.telemetry", "device": {"id": "d"}, "telemetry": {"battery": 4}}

        async def post(address: str, token: str) -> int:
            headers = {"x-forwarded-for": address, "authorization": f"Bearer {token}"}
            return (await client.post(f"/webhooks/{hook}", json=event, headers=headers)).status_code

        for n in range(MAX_CONCURRENT + 1):
            assert await post(f"203.0.113.{n}, 198.51.100.66", "guess") in (401, 429)
        assert await post("203.0.113.99, 198.51.100.66", secret) == 429
        assert await post("198.51.100.7", secret) == 200


@pytest.mark.parametrize(
    "given, sender",
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.1, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        ("203.0.113.1, nonsense, 10.0.0.1", "10.0.0.1"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxys_is_the_sender(given: str, sender: str) -> None:
    proxies = load_settings(database_url="postgresql:///x", trusted_proxies=PROXY["trusted_proxies"]).proxies
    scope = {"client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", given.encode())]}
    assert behind_proxies(scope, proxies)["client"][0] == sender
    assert behind_proxies({**scope, "client": ("192.0.2.1", 1)}, proxies)["client"][0] == "192.0.2.1"
    assert behind_proxies(scope, ())["client"][0] == "127.0.0.1"


@pytest.fixture
def rollcall(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", database)
    monkeypatch.setenv("ROLLCALL_KEYS", KEYS)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    return run


def test_no_command_changes_or_tests_without_a_row_of_the_audit(rollcall: Callable[..., str]) -> None:
    add = ("integration", "add", "plant", "--organization", "acme", "--port", "1")
    rollcall(*add, "--password", "hunter2hunter2")
    rollcall(*add)
    rollcall(*add, "--replace")
    rollcall("integration", "test", "plant")
    rollcall("integration", "reset-session", "plant", "--yes")
    rollcall("integration", "disable", "plant")
    rollcall("token", "create", "ci", "--organization", "acme")
    token = json.loads(rollcall("token", "list", "--json"))[0]["id"]
    rollcall("token", "revoke", token)
    text = rollcall("audit", "--json")
    assert "hunter2" not in text
    rows = json.loads(text)
    assert [row["action"] for row in reversed(rows)] == [
        "integration.created", "integration.changed", "integration.tested", "integration.session_reset",
        "integration.changed", "token.created", "token.revoked",
    ]  # fmt: skip
    who = {(row["actor"], row["address"], row["organization"]) for row in rows}
    assert who == {(f"operator {getpass.getuser()}", socket.gethostname(), "acme")}


async def test_retention_deletes_no_row_of_the_audit_before_its_time_and_its_subject_takes_none_along(
    database: str,
) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        organization = await pool.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        await tokens.create(pool, organization, "old", ["read"], None)
        await tokens.create(pool, organization, "new", ["read"], None)
        age = "update rollcall.audit set at = now() - make_interval(days => $2) where name = $1"
        await pool.execute(age, "old", AUDIT_KEPT_DAYS + 1)
        await pool.execute(age, "new", EVENTS_KEPT_DAYS + 1)
        await pool.execute("delete from organizations")
        await Retention(pool).expire()
        assert [row["name"] for row in await pool.fetch("select name from rollcall.audit")] == ["new"]
