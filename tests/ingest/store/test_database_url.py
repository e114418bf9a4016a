"""Database URLs as libpq takes them, in every command."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.cli import main
from ingest.errors import Misconfigured
from ingest.store.database_url import connectable

Run = Callable[..., tuple[int, str]]
COMMANDS = (
    ("run",), ("run", "--migrate"), ("migrate",), ("migrate", "--status"), ("devices", "list"), ("token", "list"),
    ("dead-letters", "list"), ("unknown", "list"), ("integration", "list"), ("keys", "rotate"), ("sync", "x"),
)  # fmt: skip
LIBPQ = (
    "channel_binding=prefer", "connect_timeout=5", "gssencmode=disable", "keepalives=1", "keepalives_idle=30",
    "target_session_attrs=read-write", "sslmode=prefer", "application_name=x", "fallback_application_name=x",
    "tcp_user_timeout=1000", "sslsni=1", "require_auth=none", "options=-c%20geqo%3Doff", "load_balance_hosts=disable",
)  # fmt: skip


@pytest.fixture
def rollcall(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line with this database URL and return (exit code, what was printed)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLCALL_DATABASE_DIRECT_URL", raising=False)
    monkeypatch.setenv("ROLLCALL_KEYS", "k1:MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=")

    def run(url: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("ROLLCALL_DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["rollcall", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return code if isinstance(code, int) else 0, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("mark", ["[", "]", "/", "#", "?", "?a=", "[::1]", "@/", ":#"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_raw_password_is_in_no_error_and_no_traceback(
    rollcall: Run, command: tuple[str, ...], mark: str
) -> None:
    code, printed = rollcall(f"postgresql://joe:hunter{mark}secret@127.0.0.1:1/x", *command)
    assert code == 1, printed
    assert "%XX" in printed
    assert "hunter" not in printed
    assert "secret" not in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_parameter_that_libpq_does_not_know_is_named(rollcall: Run, command: tuple[str, ...]) -> None:
    code, printed = rollcall("postgresql://joe:hunter2@127.0.0.1:1/x?sslmodes=on", *command)
    assert (code, "'sslmodes'" in printed) == (1, True)
    assert "hunter2" not in printed


@pytest.mark.parametrize("command", [("devices", "list"), ("migrate",), ("keys", "rotate")], ids=" ".join)
def test_parameters_of_libpq_break_nothing(rollcall: Run, database: str, command: tuple[str, ...]) -> None:
    code, printed = rollcall(f"{database}?{'&'.join(LIBPQ)}", *command)
    assert code == 0, printed


def test_a_raw_at_sign_belongs_to_the_password() -> None:
    assert connectable("postgresql://joe:a@b@h/x").url == "postgresql://joe:a%40b@h/x"


def test_the_time_to_connect_is_libpqs() -> None:
    assert connectable("postgresql://h/x?connect_timeout=7").timeout_s(30) == 7
    assert connectable("postgresql://h/x?connect_timeout=0").timeout_s(30) == 30
    with pytest.raises(Misconfigured, match="connect_timeout"):
        connectable("postgresql://h/x?connect_timeout=soon")
