"""API keys: encrypted at rest, the older form upgraded, rotated by command, and never in anything that is told."""

import asyncio
import base64
import json
import logging
import sys
from typing import Any

import asyncpg
import pytest

from ingest.cli import main
from ingest.crypto import Keyring, password_context, secret_context
from ingest.errors import SecretUnreadable
from ingest.reconcile.keys import API_KEY as PLACE
from ingest.reconcile.keys import decrypt_api_key, encrypt_api_key
from ingest.settings import load_settings
from tests.ingest.reconcile.fleet import API_KEY, Fleet
from tests.servers.golioth import Golioth

K1, K2 = ("k1:" + base64.b64encode(b"1" * 32).decode(), "k2:" + base64.b64encode(b"2" * 32).decode())
OLDER = base64.b64encode(API_KEY.encode()).decode()


def keyring(*keys: str) -> Keyring:
    return Keyring.from_setting(load_settings(database_url="x", keys=",".join(keys)).keys)


async def stored(fleet: Fleet) -> str:
    found: str = await fleet.pool.fetchval("select api_key_encrypted from device_integrations")
    return found


async def put(fleet: Fleet, key: str) -> None:
    await fleet.pool.execute("update device_integrations set api_key_encrypted = $1", key)


@pytest.mark.parametrize("form", [OLDER, API_KEY, f"{OLDER}\n"])
async def test_a_key_in_an_older_form_is_read_and_encrypted_in_place_on_first_use(
    fleet: Fleet, form: str
) -> None:
    await put(fleet, form)
    fleet.keyring = keyring(K1)
    assert (await fleet.reconcile()).run.status == "done"
    encrypted = await stored(fleet)
    assert encrypted.startswith("rc1:k1:")
    assert decrypt_api_key(encrypted, fleet.integration, fleet.keyring) == API_KEY
    assert (await fleet.reconcile()).run.status == "done"
    assert await stored(fleet) == encrypted


async def test_without_a_key_of_ours_it_is_used_and_left_as_it_is(fleet: Fleet) -> None:
    await put(fleet, OLDER)
    assert (await fleet.reconcile()).run.status == "done"
    assert await stored(fleet) == OLDER


async def test_a_dry_run_upgrades_nothing(fleet: Fleet) -> None:
    await put(fleet, OLDER)
    fleet.keyring = keyring(K1)
    await fleet.reconcile(dry_run=True)
    assert await stored(fleet) == OLDER


async def test_a_key_that_cannot_be_decrypted_fails_the_run_and_names_the_missing_key(fleet: Fleet) -> None:
    await put(fleet, encrypt_api_key(API_KEY, fleet.integration, keyring(K2)))
    fleet.keyring = keyring(K1)
    outcome = await fleet.reconcile()
    assert isinstance(outcome.error, SecretUnreadable)
    assert "'k2'" in (await fleet.last_run())["detail"]


async def test_no_key_is_in_logs_errors_runs_or_the_timeline(
    fleet: Fleet, cloud: Golioth, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await put(fleet, OLDER)
    await fleet.reconcile()
    cloud.api_key = "another"  # the fake repeats the key that it refuses
    outcome = await fleet.reconcile()
    told = [
        caplog.text,
        repr(outcome),
        str(outcome.error),
        *map(str, await fleet.pool.fetch("select r::text from rollcall.reconcile_runs r")),
        *map(str, await fleet.pool.fetch("select e::text from rollcall.device_events e")),
        repr(await fleet.reconciler()._listings.one(fleet.integration)),
    ]
    assert outcome.run.status == "failed"
    assert not [text for text in told if API_KEY in text or OLDER in text]


@pytest.fixture
def rollcall(database: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Any) -> Any:
    """Run a command line in a thread of its own and return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", database)

    async def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])

        def call() -> Any:
            with pytest.raises(SystemExit) as ended:
                main()
            return ended.value.code or 0

        code = await asyncio.to_thread(call)
        out, err = capsys.readouterr()
        return code, out, err

    return run


async def test_rotation_encrypts_every_secret_under_the_first_key(
    fleet: Fleet, rollcall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, integration = keyring(K1), fleet.integration
    settings = {
        "password": old.encrypt("p", password_context(integration)),
        "webhook": {
            "auth": "header",
            "secret": old.encrypt("w", secret_context(integration, "webhook.secret")),
        },
    }
    await fleet.pool.execute(
        "update device_integrations set settings = $1, api_key_encrypted = $2, webhook_secret = 'clear'",
        json.dumps(settings), OLDER,
    )  # fmt: skip
    monkeypatch.setenv("ROLLCALL_KEYS", f"{K2},{K1}")
    code, out, _ = await rollcall("keys", "rotate", "--json")
    assert (code, json.loads(out)) == (
        0,
        {"api_key_encrypted": 1, "password": 1, "webhook_secret": 1, "webhook.secret": 1},
    )
    new = keyring(K2)
    row = await fleet.pool.fetchrow("select * from device_integrations")
    after = json.loads(row["settings"])
    assert new.decrypt(after["password"], password_context(integration)) == "p"
    context = secret_context(integration, "webhook.secret")
    assert new.decrypt(after["webhook"]["secret"], context) == "w"
    assert new.decrypt(row["webhook_secret"], secret_context(integration, "webhook_secret")) == "clear"
    assert new.decrypt(row["api_key_encrypted"], secret_context(integration, PLACE)) == API_KEY
    assert json.loads((await rollcall("keys", "rotate", "--json"))[1]) == {"already current": 4}


async def test_rotation_names_what_it_cannot_read_and_goes_on(
    fleet: Fleet, rollcall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(fleet, encrypt_api_key(API_KEY, fleet.integration, keyring(K1)))
    await fleet.pool.execute("update device_integrations set webhook_secret = 'clear'")
    monkeypatch.setenv("ROLLCALL_KEYS", K2)
    code, out, err = await rollcall("keys", "rotate", "--json")
    assert (code, json.loads(out)) == (1, {"unreadable": 1, "webhook_secret": 1})
    assert "integration 'g'" in err
    assert "'k1'" in err


async def test_an_integration_takes_its_key_from_a_variable_and_is_synchronized(
    pool: asyncpg.Pool, cloud: Golioth, rollcall: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add("d1")
    monkeypatch.setenv("ROLLCALL_KEYS", K1)
    monkeypatch.setenv("GOLIOTH_KEY", API_KEY)
    where = ("--project-id", "fleet", "--base-url", cloud.http.url, "--key-env", "GOLIOTH_KEY")
    added = await rollcall("integration", "add", "g", "--organization", "acme", "--type", "golioth", *where)
    assert added[0] == 0, added
    assert (await pool.fetchval("select api_key_encrypted from device_integrations")).startswith("rc1:k1:")
    code, out, _ = await rollcall("sync", "g", "--dry-run")
    assert (code, "SN-d1" in out) == (0, True)
    code, out, _ = await rollcall("sync", "g", "--dry-run", "--json")
    fields = {one["field"]: one["to"] for one in json.loads(out)["differences"]}
    assert (fields["serial_number"], fields["battery_level"]) == ("SN-d1", 77)
    assert await pool.fetchval("select count(*) from devices") == 0
    code, out, _ = await rollcall("sync", "g", "--json")
    assert (code, json.loads(out)["created"]) == (0, 1)


async def test_exit_codes_tell_who_must_act(fleet: Fleet, cloud: Golioth, rollcall: Any) -> None:
    await fleet.reconcile()
    cloud.devices.clear()
    code, _, err = await rollcall("sync", "g")
    assert (code, "--accept-missing" in err) == (1, True)
    cloud.api_key = "another"
    assert (await rollcall("sync", "g"))[0] == 1
    await fleet.pool.execute(
        "insert into rollcall.leases (name, holder, expires_at) values ($1, 'x', now() + '1 hour')",
        f"reconcile/{fleet.integration}",
    )
    code, _, err = await rollcall("sync", "g")
    assert (code, "under way" in err) == (3, True)
