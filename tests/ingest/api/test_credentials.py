"""Secrets of devices: shown to whom may see them, after the audit, and nowhere else."""

import base64
import logging

import pytest
from pydantic import SecretStr

from ingest.crypto import Keyring
from ingest.store.people.credentials import rotate_credentials
from tests.ingest.api.world import API_KEY, KEYS, Organization, World, running

SECRET = "s3cr3t-of-the-device"


def path(made: Organization, rest: str = "") -> str:
    return f"/api/devices/{made.device}/credentials{rest}"


async def decrypt(world: World, made: Organization, credential: object = None, **options: object):  # type: ignore[no-untyped-def]
    body = {"credentialId": str(credential or made.credential)}
    return await world.post(path(made, "/decrypt"), made.tokens["secrets"], body, **options)


async def test_who_read_a_secret_is_written_down(world: World, acme: Organization) -> None:
    answer = await decrypt(world, acme, headers={"user-agent": "tests/1"})
    assert answer.json() == {
        "credentialId": str(acme.credential),
        "credentialType": "PRE_SHARED_KEY",
        "identity": "identity",
        "secret": "psk-of-acme",
    }
    assert answer.headers["cache-control"] == "no-store"
    (row,) = await world.pool.fetch("select * from device_credential_access_log")
    assert (row["credential_id"], str(row["ip_address"]), row["user_agent"]) == (
        acme.credential, "127.0.0.1", "tests/1",
    )  # fmt: skip
    token = await world.pool.fetchval("select id from rollcall.api_tokens where scopes = '{secrets}'")
    assert row["accessed_by"] == token
    (listed,) = (await world.get(path(acme), acme.tokens["read"])).json()["credentials"]
    assert listed["lastAccessedAt"] is not None
    events = (await world.get(f"/api/devices/{acme.device}/timeline", acme.tokens["read"])).json()["events"]
    assert events[0]["detail"]["by"].startswith("token test")


async def test_a_secret_that_cannot_be_audited_is_not_read(world: World, acme: Organization) -> None:
    await world.pool.execute(
        "alter table device_credential_access_log add constraint full_disk check (user_agent <> 'tests/2')"
    )
    refused = await decrypt(world, acme, headers={"user-agent": "tests/2"})
    assert refused.status_code >= 400
    assert "psk-of-acme" not in refused.text
    assert await world.pool.fetchval("select last_accessed_at from device_credentials") is None


@pytest.mark.parametrize(
    "change, state", [("expires_at = now()", "expired"), ("encrypted_secret = null", "revoked")]
)
async def test_what_is_over_is_gone(change: str, state: str, world: World, acme: Organization) -> None:
    await world.pool.execute(f"update device_credentials set {change}")
    answer = await decrypt(world, acme)
    assert (answer.status_code, answer.json()["detail"]) == (410, f"the credential is {state}")
    assert await world.pool.fetchval("select count(*) from device_credential_access_log") == 0
    assert (await world.get(path(acme), acme.tokens["read"])).json()["credentials"][0]["state"] == state


async def test_the_platforms_older_form_is_read_and_upgraded(world: World, acme: Organization) -> None:
    await world.pool.execute(
        "update device_credentials set encrypted_secret = $1", base64.b64encode(SECRET.encode()).decode()
    )
    assert (await decrypt(world, acme)).json()["secret"] == SECRET
    stored = await world.pool.fetchval("select encrypted_secret from device_credentials")
    assert stored.startswith("rc1:k1:")
    assert (await decrypt(world, acme)).json()["secret"] == SECRET


async def test_a_secret_that_was_moved_to_another_device_does_not_open(
    world: World, acme: Organization, other: Organization
) -> None:
    await world.pool.execute(
        "update device_credentials set encrypted_secret = (select encrypted_secret from device_credentials"
        " where id = $1) where id = $2",
        acme.credential,
        other.credential,
    )
    answer = await decrypt(world, other)
    assert answer.status_code == 409
    assert "psk-of-acme" not in answer.text


async def test_one_is_created_shown_once_wanted_and_revoked(world: World, acme: Organization) -> None:
    new = {"credentialType": "TOKEN", "identity": "me", "secret": SECRET, "expiresAt": "2999-01-01T00:00:00Z"}
    made = await world.post(path(acme), acme.tokens["secrets"], new)
    assert made.status_code == 201
    assert SECRET not in made.text
    identifier = made.json()["credentialId"]
    assert (await decrypt(world, acme, identifier)).json()["secret"] == SECRET
    assert (await world.post(path(acme), acme.tokens["secrets"], new)).status_code == 409
    gone = await world.ask("DELETE", path(acme, f"/{identifier}"), acme.tokens["secrets"])
    assert gone.status_code == 204
    assert (await decrypt(world, acme, identifier)).status_code == 410
    again = await world.post(path(acme), acme.tokens["secrets"], {**new, "secret": "another"})
    assert again.json()["credentialId"] == identifier
    assert await world.pool.fetchval("select count(*) from device_credential_access_log") == 1


async def test_reading_secrets_is_limited_by_itself(database: str) -> None:
    async with running(database, api_secrets_per_min=2) as world:
        acme = await world.organization("acme")
        codes = [(await decrypt(world, acme)).status_code for _ in range(4)]
        assert codes == [200, 200, 429, 429]
        assert (await world.get(path(acme), acme.tokens["read"])).status_code == 200


async def test_rotation_encrypts_everything_anew_while_readers_read(world: World, acme: Organization) -> None:
    await world.pool.execute(
        "insert into device_credentials (device_id, credential_type, identity, encrypted_secret)"
        " values ($1, 'TOKEN', 'x', $2), ($1, 'CERTIFICATE', 'y', 'rc1:lost:AAAA')",
        acme.device,
        base64.b64encode(SECRET.encode()).decode(),
    )
    newer = Keyring.from_setting(SecretStr("k2:" + base64.b64encode(b"2" * 32).decode() + "," + KEYS))
    assert await rotate_credentials(world.pool, newer) == (2, 1)
    stored = await world.pool.fetch("select encrypted_secret as s from device_credentials order by s")
    assert [row["s"].split(":")[1] for row in stored] == ["k2", "k2", "lost"]
    assert await rotate_credentials(world.pool, newer) == (0, 1)
    world.keyring.__dict__.update(newer.__dict__)
    assert (await decrypt(world, acme)).json()["secret"] == "psk-of-acme"


async def test_no_secret_is_in_a_log_an_error_or_another_answer(
    world: World, acme: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.cloud.add("acme-1")
    token = acme.tokens["all"]
    said: list[str] = []
    bad = {"credentialType": "NONE", "identity": ["x"], "secret": SECRET, "more": SECRET}
    said.append((await world.post(path(acme), token, bad)).text)
    said.append((await world.post(path(acme), token, {"credentialType": "TOKEN", "secret": [SECRET]})).text)
    good = {"credentialType": "TOKEN", "identity": "x", "secret": SECRET}
    said.append((await world.post(path(acme), token, good)).text)
    said.append((await world.ask("POST", path(acme), token, content=b'{"secret": "' + SECRET.encode())).text)
    added = {
        "integrationType": "golioth",
        "name": "n",
        "projectId": "p",
        "apiKey": SECRET,
        "webhookSecret": SECRET,
    }
    said.append((await world.post("/api/integrations", token, added)).text)
    said.append((await world.post("/api/integrations", token, {**added, "projectId": None})).text)
    said.append((await world.post("/api/integrations", token, {**added, "baseUrl": "http://x"})).text)
    broker = {"integrationType": "mqtt", "name": "b", "settings": {"password": SECRET, "port": "x"}}
    said.append((await world.post("/api/integrations", token, broker)).text)
    broker["settings"] = {"password": SECRET, "webhook": {"auth": "header", "secret": SECRET}}
    said.append((await world.post("/api/integrations", token, broker)).text)
    routes = [f"/api/devices/{acme.device}{rest}" for rest in ("", "/status", "/timeline", "/credentials")]
    said += [(await world.get(route, token)).text for route in routes]
    said.append((await world.get("/api/integrations", token)).text)
    world.cloud.api_key = "another"
    said.append((await world.post(f"/api/integrations/{acme.integration}/test", token)).text)
    rows = await world.pool.fetch(
        "select to_jsonb(t)::text from (select * from device_integrations) t"
        " union all select to_jsonb(c)::text from device_credentials c"
        " union all select to_jsonb(e)::text from rollcall.device_events e"
        " union all select to_jsonb(r)::text from rollcall.api_requests r"
    )
    written = "\n".join([*said, caplog.text, *(row[0] for row in rows)])
    for secret in (
        SECRET,
        "psk-of-acme",
        API_KEY,
        *acme.tokens.values(),
        base64.b64encode(SECRET.encode()).decode(),
    ):
        assert secret not in written
