import asyncio
import base64
import io
import json
import sys
from uuid import UUID

import asyncpg
import pytest

from ingest.cli import main
from ingest.crypto import Keyring, password_context, secret_context
from ingest.settings import load_settings

KEYS = "k1:" + base64.b64encode(b"1" * 32).decode()


@pytest.fixture
def rollcall(database, monkeypatch, capsys, tmp_path):
    """Run a command line against a fresh database and return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", database)
    monkeypatch.delenv("ROLLCALL_KEYS", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def sql(database):
    """Run one query and return its rows."""

    def run(query, *arguments):
        async def fetch():
            connection = await asyncpg.connect(database)
            try:
                return await connection.fetch(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    return run


@pytest.fixture
def plant(rollcall):
    """The id of an integration."""
    return UUID(rollcall("integration", "add", "plant", "--organization", "acme")[1].strip())


@pytest.fixture
def lamp(sql, plant):
    """The id of a device with clocks and a timeline."""
    (row,) = sql(
        """insert into devices (organization_id, integration_id, external_device_id, name, device_type, status)
        select organization_id, id, 'ext-1', 'lamp', 'light', 'online' from device_integrations returning id"""
    )
    sql("insert into rollcall.device_state (device_id, online_at) values ($1, 1767225600000000)", row["id"])
    sql(
        """insert into rollcall.device_events (subject, kind, at, source)
        values ($1, 'online', '2026-01-01Z', 'mqtt')""",
        row["id"],
    )
    return row["id"]


def test_version_prints_the_version(rollcall):
    code, out, _ = rollcall("version")
    assert (code, out) == (0, "0.1.0\n")


def test_an_added_integration_is_listed_under_an_organization_that_was_created(rollcall, plant):
    (row,) = json.loads(rollcall("integration", "list", "--json")[1])
    assert (row["id"], row["organization"], row["status"]) == (str(plant), "acme", "active")
    assert row["settings"] == {"host": "127.0.0.1", "port": 1883}


def test_adding_it_again_is_refused_and_replace_changes_it(rollcall, plant):
    code, _, err = rollcall("integration", "add", "plant", "--organization", "acme", "--port", "1884")
    assert code == 1
    assert "--replace" in err
    again = rollcall("integration", "add", "plant", "--organization", "acme", "--port", "1884", "--replace")
    assert again[1].strip() == str(plant)
    assert json.loads(rollcall("integration", "list", "--json")[1])[0]["settings"]["port"] == 1884


def test_the_password_is_stored_encrypted_and_never_listed(rollcall, sql, monkeypatch):
    monkeypatch.setenv("ROLLCALL_KEYS", KEYS)
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    identifier = rollcall(
        "integration", "add", "plant", "--organization", "acme", "--password-env", "BROKER_PASSWORD"
    )[1].strip()
    stored = json.loads(sql("select settings from device_integrations")[0]["settings"])["password"]
    assert stored.startswith("rc1:k1:")
    keyring = Keyring.from_setting(load_settings().keys)
    assert keyring.decrypt(stored, password_context(identifier)) == "hunter2"
    assert "password" not in rollcall("integration", "list", "--json")[1]


def test_a_topic_without_a_device_id_is_refused_before_anything_is_written(rollcall):
    code, _, err = rollcall("integration", "add", "p", "--organization", "acme", "--topic", "telemetry=up")
    assert code == 1
    assert "device_id" in err
    assert json.loads(rollcall("integration", "list", "--json")[1]) == []


def test_a_disabled_integration_is_inactive(rollcall, plant):
    assert rollcall("integration", "disable", "plant")[0] == 0
    assert json.loads(rollcall("integration", "list", "--json")[1])[0]["status"] == "inactive"


def test_a_name_that_is_not_there_is_said_and_exits_with_1(rollcall):
    assert rollcall("integration", "disable", "nowhere") == (
        1,
        "",
        "rollcall: there is no integration 'nowhere'\n",
    )


def test_a_broker_that_is_away_exits_with_3(rollcall):
    rollcall("integration", "add", "dead", "--organization", "acme", "--port", "1", "--protocol", "5")
    code, _, err = rollcall("integration", "test", "dead")
    assert code == 3, err


def test_a_jetstream_that_is_away_exits_with_3(rollcall):
    rollcall(
        "integration", "add", "fleet", "--organization", "acme", "--protocol", "jetstream", "--host", "::1"
    )
    code, _, err = rollcall("integration", "test", "fleet")
    assert code == 3, err


def test_a_jetstream_has_no_session_to_reset_and_that_is_said(rollcall):
    rollcall("integration", "add", "fleet", "--organization", "acme", "--protocol", "jetstream")
    code, _, err = rollcall("integration", "reset-session", "fleet", "--yes")
    assert code == 1
    assert "'fleet' reads a JetStream" in err
    assert "nats consumer rm" in err


def test_a_database_that_is_away_exits_with_3(rollcall):
    code, _, err = rollcall("devices", "list", "--database-url", "postgresql://127.0.0.1:1/x")
    assert code == 3
    assert "does not answer" in err


def test_a_database_that_is_not_migrated_exits_with_1_and_says_what_to_run(rollcall, empty_database):
    code, _, err = rollcall("devices", "list", "--database-url", empty_database)
    assert code == 1
    assert "rollcall migrate" in err


def test_devices_are_listed_by_status(rollcall, lamp):
    assert "lamp" in rollcall("devices", "list")[1]
    assert json.loads(rollcall("devices", "list", "--status", "offline", "--json")[1]) == []


def test_lists_are_of_all_organizations_or_of_the_one_that_is_named(rollcall, lamp):
    rollcall("integration", "add", "plant", "--organization", "other")
    named = [
        json.loads(rollcall("devices", "list", "--json", *option)[1])
        for option in ((), ("--organization", "acme"), ("--organization", "other"))
    ]
    assert [[row["organization"] for row in rows] for rows in named] == [["acme"], ["acme"], []]
    listed = json.loads(rollcall("integration", "list", "--json")[1])
    assert [(row["organization"], row["devices"]) for row in listed] == [("acme", 1), ("other", 0)]


@pytest.mark.parametrize(
    "command", [["devices", "list"], ["audit"], ["token", "list"], ["devices", "show", "lamp"]]
)
def test_an_organization_that_is_not_there_is_named_and_not_listed_as_empty(rollcall, lamp, command):
    told = rollcall(*command, "--organization", "acmee")
    assert told == (1, "", "rollcall: there is no organization 'acmee'\n")


def test_a_device_without_a_status_is_listed_as_offline(rollcall, lamp, sql):
    sql("update devices set status = null")
    (row,) = json.loads(rollcall("devices", "list", "--status", "offline", "--json")[1])
    assert row["status"] == "offline"


@pytest.mark.parametrize("reference", ["lamp", "ext-1"])
def test_a_device_is_shown_with_its_clocks_and_timeline(rollcall, lamp, reference):
    shown = json.loads(rollcall("devices", "show", reference, "--json")[1])
    assert shown["id"] == str(lamp)
    assert shown["clocks"]["online_at"].startswith("2026-01-01T00:00:00")
    assert [event["kind"] for event in shown["timeline"]] == ["online"]
    assert "timeline, newest first" in rollcall("devices", "show", reference)[1]


def test_a_field_that_could_not_be_used_does_not_stay_unseen(rollcall, lamp, sql):
    sql(
        "insert into rollcall.field_errors (device_id, field, value, reason, at)"
        f" values ('{lamp}', 'battery', '300', 'is above 100', 1767225600000000)"
    )
    (shown,) = json.loads(rollcall("devices", "show", "lamp", "--json")[1])["field_errors"]
    assert (shown["field"], shown["value"], shown["reason"]) == ("battery", "300", "is above 100")
    assert shown["at"].startswith("2026-01-01T00:00:00")
    assert "is above 100" in rollcall("devices", "show", "lamp")[1]


@pytest.fixture
def letter(sql, plant):
    """The id of a dead letter whose payload is not UTF-8."""
    (row,) = sql(
        r"""insert into rollcall.dead_letters (id, integration_id, session, topic, qos, retain, received_at, kind,
            error, payload)
        values (gen_random_uuid(), $1, 's', 'devices/x/telemetry', 1, false, 1767225600000000, 'not_json',
            'no JSON [here]', '\x7bff') returning id""",
        plant,
    )
    return row["id"]


def test_dead_letters_are_listed_shown_and_dropped(rollcall, letter):
    assert "no JSON [here]" in rollcall("dead-letters", "list", "--integration", "plant")[1]
    shown = json.loads(rollcall("dead-letters", "show", str(letter), "--json")[1])
    assert shown["payload"] == "{\\xff"
    assert rollcall("dead-letters", "drop", str(letter))[1] == "1 dropped\n"
    assert rollcall("dead-letters", "list")[1] == "none\n"


def test_nothing_is_dropped_unless_it_was_named_or_all_was_meant(rollcall, letter):
    assert rollcall("dead-letters", "drop")[0] == 1
    assert rollcall("dead-letters", "drop", "--kind", "other", "--all")[1] == "0 dropped\n"
    assert rollcall("dead-letters", "drop", "--kind", "not_json", "--all")[1] == "1 dropped\n"


def test_unknown_ids_are_listed_and_dropped(rollcall, sql, plant):
    sql(
        """insert into rollcall.parked_devices (integration_id, external_device_id, evidence, messages)
        values ($1, 'a', '{}', 3), ($1, 'b', '{}', 9)""",
        plant,
    )
    listed = json.loads(rollcall("unknown", "list", "--json")[1])
    assert [row["external_device_id"] for row in listed] == ["b", "a"]
    assert rollcall("unknown", "drop", "a")[1] == "1 dropped\n"
    assert rollcall("unknown", "drop", "--integration", "plant", "--all")[1] == "1 dropped\n"


def test_an_integration_for_webhooks_has_a_secret_that_is_shown_once_and_stored_encrypted(
    rollcall, sql, monkeypatch
):
    monkeypatch.setenv("ROLLCALL_KEYS", KEYS)
    code, out, err = rollcall(
        "integration",
        "add",
        "cloud",
        "--organization",
        "acme",
        "--type",
        "golioth",
        "--webhook-auth",
        "header",
    )
    assert code == 0, err
    shown = err.rsplit(" ", 1)[1].strip()
    (row,) = sql("select id, integration_type, webhook_enabled, settings from device_integrations")
    assert (str(row["id"]), row["integration_type"], row["webhook_enabled"]) == (out.strip(), "golioth", True)
    stored = json.loads(row["settings"])
    assert stored["webhook"]["auth"] == "header"
    assert "host" not in stored
    keyring = Keyring.from_setting(load_settings().keys)
    context = secret_context(row["id"], "webhook.secret")
    assert keyring.decrypt(stored["webhook"]["secret"], context) == shown
    assert "secret" not in json.dumps(json.loads(rollcall("integration", "list", "--json")[1])[0]["settings"])


def test_the_secret_of_webhooks_may_come_from_stdin_and_is_not_shown(rollcall, sql, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a secret of mine\n"))
    command = ["integration", "add", "cloud", "--organization", "acme", "--webhook-auth", "bearer"]
    code, _, err = rollcall(*command, "--webhook-secret", "-", "--plain-secrets")
    assert (code, err) == (0, "")
    (row,) = sql("select integration_type, settings from device_integrations")
    assert row["integration_type"] == "mqtt"
    assert json.loads(row["settings"])["webhook"] == {"auth": "bearer", "secret": "a secret of mine"}


@pytest.mark.parametrize(
    "options, told",
    [
        (["--type", "golioth"], "--webhook-auth"),
        (["--webhook-auth", "magic"], "webhook.auth"),
        (["--webhook-auth", "sns"], "webhook.topic_arns"),
        (["--webhook-auth", "header", "--webhook-secret", "x"], "stdin"),
    ],
)
def test_what_webhooks_cannot_use_is_refused_before_anything_is_written(rollcall, sql, options, told):
    code, _, err = rollcall("integration", "add", "cloud", "--organization", "acme", *options)
    assert code == 1
    assert told in err
    assert sql("select 1 from device_integrations") == []


def test_a_token_is_shown_once_listed_without_itself_and_revoked(rollcall, plant):
    code, out, _ = rollcall(
        "token", "create", "ci", "--organization", "acme", "--scope", "read", "--scope", "operate"
    )
    token = out.strip()
    assert (code, token[:3], len(token)) == (0, "rc_", 46)
    (row,) = json.loads(rollcall("token", "list", "--json")[1])
    assert (row["name"], row["scopes"], row["state"]) == ("ci", ["read", "operate"], "active")
    assert token not in rollcall("token", "list", "--json")[1]
    assert rollcall("token", "revoke", row["id"])[0] == 0
    assert json.loads(rollcall("token", "list", "--json")[1])[0]["state"] == "revoked"
    assert rollcall("token", "revoke", row["id"])[0] == 1


def test_a_token_with_a_scope_that_is_none_or_of_nobody_is_refused(rollcall, plant):
    assert "read, operate" in rollcall("token", "create", "x", "--organization", "acme", "--scope", "all")[2]
    assert rollcall("token", "create", "x", "--organization", "nowhere")[0] == 1
    assert json.loads(rollcall("token", "list", "--json")[1]) == []


def test_certificates_are_stored_as_text_and_encrypted(rollcall, sql, monkeypatch, tmp_path):
    monkeypatch.setenv("ROLLCALL_KEYS", KEYS)
    files = []
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----{name} of a plant-----")
        files += [f"--{name}-file", str(tmp_path / name)]
    assert rollcall("integration", "add", "plant", "--organization", "acme", *files)[0] == 0
    (row,) = sql("select id, settings -> 'tls' as tls from device_integrations")
    stored = json.loads(row["tls"])
    keyring = Keyring.from_setting(load_settings().keys)
    for name in ("ca", "cert", "key"):
        context = secret_context(row["id"], f"tls.{name}")
        assert keyring.decrypt(stored[name], context) == f"-----{name} of a plant-----"
    listed = rollcall("integration", "list", "--json")[1]
    assert "-----" not in listed
    assert "rc1" not in json.dumps(json.loads(listed)[0]["settings"].get("tls", {}).get("key", ""))
    other = "k2:" + base64.b64encode(b"2" * 32).decode()
    monkeypatch.setenv("ROLLCALL_KEYS", f"{other},{KEYS}")
    assert rollcall("keys", "rotate")[0] == 0
    (row,) = sql("select settings #>> '{tls,key}' as key from device_integrations")
    assert row["key"].startswith("rc1:k2:")


def test_a_file_that_is_not_there_is_named(rollcall):
    code, _, err = rollcall("integration", "add", "p", "--organization", "a", "--ca-file", "/nowhere.pem")
    assert code == 1
    assert "--ca-file /nowhere.pem" in err


@pytest.mark.parametrize(
    "options, place",
    [
        (["--password", "hunter2hunter2"], "password"),
        (["--webhook-auth", "bearer"], "webhook.secret"),
        (["--cert-file", "cert.pem", "--key-file", "key.pem"], "tls.key"),
    ],
)
def test_a_secret_is_not_stored_in_the_clear_unless_that_was_asked_for(
    rollcall, sql, tmp_path, options, place
):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("hunter2hunter2")
    command = ["integration", "add", "plant", "--organization", "acme", *options]
    code, out, err = rollcall(*command)
    assert code == 1
    assert f"{place} would be stored in the clear" in err or f", {place} would be stored" in err
    assert "--plain-secrets" in err
    assert "hunter2" not in out + err
    assert sql("select 1 from device_integrations") == []
    assert rollcall(*command, "--plain-secrets")[0] == 0
    assert len(sql("select 1 from device_integrations")) == 1


@pytest.mark.parametrize("host", ["joe:hunter2@broker", "mqtt://joe:hunter2@broker:1883", "broker/hunter2"])
def test_a_host_with_a_login_in_it_is_refused_and_not_repeated(rollcall, sql, host):
    code, out, err = rollcall("integration", "add", "plant", "--organization", "acme", "--host", host)
    assert code == 1
    assert "host" in err
    assert "joe:hunter2" not in out + err
    assert sql("select 1 from device_integrations") == []


def test_a_row_that_the_database_refuses_is_not_quoted_in_an_error(rollcall, sql, monkeypatch):
    monkeypatch.setenv("ROLLCALL_KEYS", KEYS)
    sql("alter table device_integrations add constraint odd check (name <> 'plant') not valid")
    command = ["integration", "add", "plant", "--organization", "acme", "--username", "joe-of-plant-7"]
    code, out, err = rollcall(*command)
    assert code == 1
    assert "23514" in err
    assert "joe-of-plant-7" not in out + err
    assert "Traceback" not in err
