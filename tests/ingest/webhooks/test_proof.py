"""Requests prove themselves, and no secret is to be seen anywhere."""

import base64
import logging
import time
from datetime import UTC, datetime

import orjson
import pytest
from standardwebhooks import Webhook

from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.ingest.webhooks.test_auth import hex_of

KEYS = "k1:" + base64.b64encode(b"1" * 32).decode()
SECRET = "whsec_" + base64.b64encode(b"the right one, it is").decode()
WRONG = "whsec_" + base64.b64encode(b"some other, a wrong1").decode()
BODY = b'{"device_id":"dev-1","battery":7}'
METHODS = ("header", "bearer", "hmac", "standard_webhooks")


def proof(method: str, secret: str, body: bytes = BODY) -> dict[str, str]:
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return {
        "header": {"x-webhook-secret": secret},
        "bearer": {"authorization": f"Bearer {secret}"},
        "hmac": {"x-webhook-signature": hex_of(secret, body)},
        "standard_webhooks": {
            "webhook-id": "m-1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("m-1", now, body.decode()),
        },
    }[method]


@pytest.mark.parametrize("method", METHODS)
async def test_only_the_right_secret_is_let_in(database: str, method: str) -> None:
    async with running(database, None) as service:
        integration = await service.add_webhooks(webhook={"auth": method}, secret=SECRET)
        async with http_client(base_url=service.url) as client:
            for headers in ({}, proof(method, WRONG)):
                answer = await client.post(f"/webhooks/{integration}", content=BODY, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["content-type"] == "application/problem+json"
                assert "www-authenticate" in answer.headers
            assert await service.pool.fetchval("select count(*) from devices") == 0
            right = await client.post(f"/webhooks/{integration}", content=BODY, headers=proof(method, SECRET))
            assert right.status_code == 200
        assert await service.pool.fetchval("select battery_level from devices") == 7


async def test_no_secret_is_in_logs_answers_dead_letters_or_metrics(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    async with running(database, None, log_level="debug") as service:
        for method in METHODS:
            integration = await service.add_webhooks(
                method, webhook={"auth": method, "header": "Ce-Secret"}, secret=SECRET
            )
            await exchange(service, f"/webhooks/{integration}?secret={SECRET}", method, seen)
        async with http_client(base_url=service.url) as client:
            seen += [(await client.get(page)).text for page in ("/metrics", "/readyz", "/healthz")]
        rows = await service.pool.fetch("select l::text as row, headers from rollcall.dead_letters l")
        assert len(rows) == len(METHODS)
        assert orjson.loads(rows[0]["headers"]) == {"content-type": "text/plain"}
        seen += [row["row"] for row in rows]
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    told = "\n".join([*seen, *ours])
    for secret in (SECRET, WRONG, SECRET.removeprefix("whsec_"), hex_of(SECRET, b"nonsense")):
        assert secret not in told


async def exchange(service: Service, path: str, method: str, seen: list[str]) -> None:
    async with http_client(base_url=service.url) as client:
        for secret in (SECRET, WRONG):
            headers = {**proof(method, secret, b"nonsense"), "content-type": "text/plain"}
            if method == "header":
                headers = {"ce-secret": secret, "content-type": "text/plain"}
            answer = await client.post(path, content=b"nonsense", headers=headers)
            assert answer.status_code == (400 if secret == SECRET else 401)
            seen += [answer.text, str(answer.headers)]


async def test_clear_secrets_are_used_and_encrypted_in_place(database: str) -> None:
    async with running(database, None, keys=KEYS) as service:
        named = await service.add_webhooks(
            "named", webhook={"auth": "header", "secret": SECRET, "previous_secret": WRONG}
        )
        column = await service.add_webhooks("column", webhook={"auth": "bearer"}, secret=SECRET)
        clear = (
            "select count(*) from device_integrations where settings::text || webhook_secret like '%whsec%'"
        )
        await service.sees(clear, 0)
        paths = "select settings #>> '{webhook,previous_secret}' from device_integrations where id = $1"
        assert (await service.pool.fetchval(paths, named)).startswith("rc1:k1:")
        stored = "select webhook_secret from device_integrations where id = $1"
        assert (await service.pool.fetchval(stored, column)).startswith("rc1:k1:")
        await let_in(service, named, column)
    async with running(database, None, keys=KEYS) as service:
        await service.add_webhooks("another", webhook={"auth": "none"})
        await let_in(service, named, column)


async def let_in(service: Service, named: object, column: object) -> None:
    async with http_client(base_url=service.url) as client:
        for path, headers in (
            (f"/webhooks/{named}", proof("header", SECRET)),
            (f"/webhooks/{named}", proof("header", WRONG)),
            (f"/webhooks/{column}", proof("bearer", SECRET)),
        ):
            assert (await client.post(path, content=BODY, headers=headers)).status_code == 200
