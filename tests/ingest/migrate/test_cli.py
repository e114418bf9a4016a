"""`rollcall migrate`, as a person or a script runs it."""

import json
import sys
from collections.abc import Callable

import pytest

from ingest.cli import main
from tests.ingest.migrate.platforms import EVERY
from tests.servers.postgres import PostgresServer, free_port

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rollcall(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database: str) -> Run:
    """Run `rollcall` against an empty database and return (exit code, stdout, stderr)."""
    monkeypatch.delenv("ROLLCALL_DATABASE_DIRECT_URL", raising=False)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", empty_database)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rollcall", "migrate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def name_of(dsn: str) -> str:
    return dsn.rpartition("/")[2]


def test_it_migrates_tells_each_file_and_sums_up(rollcall: Run) -> None:
    code, out, err = rollcall()
    assert (code, out) == (0, f"{len(EVERY)} applied, 0 skipped, 0 rebuilt\n")
    assert [f"applying {name}" for name in EVERY] == err.splitlines()


def test_a_dry_run_lists_what_would_run(
    rollcall: Run, postgres_server: PostgresServer, empty_database: str
) -> None:
    code, out, _ = rollcall("--dry-run")
    assert code == 0
    assert [f"would apply {name}" for name in EVERY] == out.splitlines()[:-1]
    assert postgres_server.psql("select to_regnamespace('rollcall') is null", name_of(empty_database)) == "t"


def test_status_lists_every_file_before_and_after(rollcall: Run) -> None:
    rows = json.loads(rollcall("--status", "--json")[1])
    assert {(row["state"], row["applied_at"]) for row in rows} == {("pending", None)}
    assert rollcall()[0] == 0
    rows = json.loads(rollcall("--status", "--json")[1])
    assert [row["filename"] for row in rows] == list(EVERY)
    assert {row["state"] for row in rows} == {"applied"}
    assert all(name in rollcall("--status")[1] for name in EVERY)


def test_json_is_the_whole_report_and_nothing_else(rollcall: Run) -> None:
    report = json.loads(rollcall("--json")[1])
    assert report["applied"] == list(EVERY)
    assert (report["skipped"], report["rebuilt"], report["newer"], report["warnings"]) == ([], [], [], [])


def test_the_direct_url_is_preferred_and_the_option_wins(
    rollcall: Run, monkeypatch: pytest.MonkeyPatch, empty_database: str
) -> None:
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("ROLLCALL_DATABASE_DIRECT_URL", empty_database)
    assert rollcall("--status")[0] == 0
    monkeypatch.setenv("ROLLCALL_DATABASE_DIRECT_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert rollcall("--status", "--database-url", empty_database)[0] == 0


def test_a_changed_file_exits_with_1_and_is_named(
    rollcall: Run, postgres_server: PostgresServer, empty_database: str
) -> None:
    rollcall()
    change = f"update rollcall.migrations set sha256 = 'x' where filename = '{EVERY[3]}'"
    postgres_server.psql(change, name_of(empty_database))
    for arguments in ((), ("--dry-run",), ("--status",)):
        code, _, err = rollcall(*arguments)
        assert code == 1
        assert EVERY[3] in err


def test_options_that_exclude_each_other_exit_with_2(rollcall: Run) -> None:
    assert rollcall("--dry-run", "--status")[0] == 2


def test_a_database_that_is_away_exits_with_3(rollcall: Run) -> None:
    code, _, err = rollcall("--database-url", f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")
    assert code == 3
    assert err.startswith("rollcall: ")


def test_a_url_that_cannot_be_read_exits_with_1_and_shows_nothing_of_the_password(rollcall: Run) -> None:
    code, out, err = rollcall("--database-url", "postgresql://postgres:hunter2/x@localhost/postgres")
    assert code == 1
    assert "hunter2" not in out + err
