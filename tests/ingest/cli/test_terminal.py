"""Text of devices and clouds cannot steer the terminal on which it is shown."""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from ingest.cli import main
from ingest.cli.dashboard import _event
from ingest.cli.output import fail
from ingest.store.people.summary import Event

EVIL = "pump\x1b]0;owned\x07\x1b[2J\x7f\x9b31m\u202egnp.exe\u2066\u200f"
HARMFUL = {*map(chr, (*range(9), *range(11, 32), *range(127, 160))), *"\u061c\u200e\u200f\u202e\u2066\u2069"}
Run = Callable[..., tuple[str, str]]


@pytest.fixture
def rollcall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database: str, tmp_path: Path
) -> Run:
    """Run a command line, on a terminal or not, and return (stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", database)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: str, terminal: bool = False) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])
        if terminal:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr()

    return run


@pytest.fixture
def told(database: str) -> UUID:
    """The id of a dead letter; everything that a device or a cloud names is EVIL."""

    async def fill() -> UUID:
        connection = await asyncpg.connect(database)
        try:
            organization = await connection.fetchval(
                "insert into organizations (name, slug) values ($1, 'o') returning id", EVIL
            )
            integration = await connection.fetchval(
                "insert into device_integrations (organization_id, integration_type, name, settings)"
                " values ($1, 'mqtt', $2, $3) returning id",
                organization, EVIL, json.dumps({"client_id": EVIL}),
            )  # fmt: skip
            device = await connection.fetchval(
                "insert into devices (organization_id, integration_id, external_device_id, name, device_type,"
                " firmware_version) values ($1, $2, $3, $3, 'x', $4) returning id",
                organization, integration, EVIL, EVIL,
            )  # fmt: skip
            await connection.execute(
                "insert into rollcall.device_events (subject, kind, at, source, detail)"
                " values ($1, 'online', now(), $2, $3)",
                device, EVIL, json.dumps({"word": EVIL}),
            )  # fmt: skip
            await connection.execute(
                "insert into rollcall.parked_devices (integration_id, external_device_id, evidence, messages)"
                " values ($1, $2, '{}', 1)",
                integration, EVIL,
            )  # fmt: skip
            letter: UUID = await connection.fetchval(
                "insert into rollcall.dead_letters (id, integration_id, session, topic, qos, retain, received_at, kind,"
                " error, payload) values (gen_random_uuid(), $1, 's', $2, 1, false, 1, 'not_json', $2, $3)"
                " returning id",
                integration, EVIL, EVIL.encode(),
            )  # fmt: skip
            return letter
        finally:
            await connection.close()

    return asyncio.run(fill())


def commands(letter: UUID) -> list[list[str]]:
    return [
        ["devices", "list"], ["devices", "show", EVIL], ["dead-letters", "list"], ["dead-letters", "show", str(letter)],
        ["unknown", "list"], ["integration", "list"], ["dead-letters", "replay", str(letter)],
        ["integration", "disable", EVIL],
    ]  # fmt: skip


def test_no_command_prints_a_control_character_that_came_from_outside(rollcall: Run, told: UUID) -> None:
    for command in commands(told):
        printed = "".join(rollcall(*command))
        assert "pump" in printed or command[1] == "replay", command
        assert not HARMFUL & set(printed), command


def test_json_on_a_terminal_is_escaped_and_means_the_same(rollcall: Run, told: UUID) -> None:
    for command in commands(told)[:6]:
        piped = rollcall(*command, "--json")[0]
        printed = rollcall(*command, "--json", terminal=True)[0]
        assert not HARMFUL & set(printed), command
        assert json.loads(printed) == json.loads(piped)


def test_an_error_does_not_print_what_a_broker_said_as_it_is(
    rollcall: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(f"the broker refused the connection: {EVIL}")
    printed = capsys.readouterr().err + "".join(rollcall("devices", "show", EVIL))
    assert "pump\\x1b]0;owned" in printed
    assert not HARMFUL & set(printed)


def test_the_dashboard_shows_no_control_character() -> None:
    now = datetime.now(UTC)
    event = Event(now, now, EVIL, "firmware", EVIL, "mqtt", {"to": EVIL})
    assert not HARMFUL & set(_event(event))
