"""Directives of a migration file, and the histories that the runner accepts."""

from pathlib import Path

import pytest

from ingest.errors import MigrationRefused
from ingest.migrate import migrate, status
from ingest.migrate.files import discover
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, VALVE, build

ONE, TWO, THREE = (f"2026010100000{number}_step.sql" for number in (1, 2, 3))
NOBODY = "00000000-0000-0000-0000-0000000000ff"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with three migrations that apply."""
    for name in (ONE, TWO, THREE):
        (tmp_path / name).write_text(f"create table public.t{name[13]} (id int unique);\n")
    return tmp_path


async def test_what_a_later_release_applied_is_told_and_refuses_nothing(
    empty_database: str, files: Path
) -> None:
    await migrate(empty_database, folder=files)
    (files / THREE).unlink()
    report = await migrate(empty_database, folder=files)
    assert (report.applied, report.newer) == ((), (THREE,))
    assert [s.state for s in await status(empty_database, folder=files)] == ["applied", "applied", "newer"]


async def test_an_applied_file_that_is_missing_among_others_is_refused_by_name(
    empty_database: str, files: Path
) -> None:
    await migrate(empty_database, folder=files)
    (files / TWO).unlink()
    with pytest.raises(MigrationRefused, match=rf"{TWO}.*restore the file"):
        await migrate(empty_database, folder=files)
    assert [s.state for s in await status(empty_database, folder=files)] == ["applied", "missing", "applied"]


async def test_a_database_of_before_the_first_release_is_told_to_start_anew(empty_database: str) -> None:
    await migrate(empty_database)
    former = "20260201000100_apply.sql"
    await run(empty_database, f"insert into rollcall.migrations (filename, sha256) values ('{former}', 'x')")
    with pytest.raises(MigrationRefused, match=rf"{former}.*before the first release.*start anew"):
        await migrate(empty_database)


async def test_a_file_that_comes_late_between_others_is_applied(empty_database: str, files: Path) -> None:
    late = (files / TWO).read_text()
    (files / TWO).unlink()
    await migrate(empty_database, folder=files)
    (files / TWO).write_text(late)
    assert (await migrate(empty_database, folder=files)).applied == (TWO,)


async def test_a_file_whose_work_is_done_already_is_recorded_and_not_run(
    empty_database: str, files: Path
) -> None:
    (files / TWO).write_text("-- unless: select true\nselect 1 / 0;\n")
    assert (await migrate(empty_database, folder=files)).applied == (ONE, TWO, THREE)
    assert (await migrate(empty_database, folder=files)).applied == ()


async def test_a_file_that_old_rows_violate_is_skipped_and_the_rest_goes_on_until_they_are_repaired(
    empty_database: str, files: Path
) -> None:
    (files / TWO).write_text("-- repair: delete from t1\ninsert into public.t1 values (1), (1);\n")
    report = await migrate(empty_database, folder=files)
    assert (report.applied, report.skipped) == ((ONE, THREE), (TWO,))
    (warning,) = report.warnings
    assert TWO in warning
    assert "delete from t1" in warning
    assert [s.state for s in await status(empty_database, folder=files)] == ["applied", "skipped", "applied"]
    assert (await migrate(empty_database, folder=files)).skipped == (TWO,)


async def test_a_violation_in_a_file_without_a_repair_is_refused(empty_database: str, files: Path) -> None:
    (files / TWO).write_text("insert into public.t1 values (1), (1);\n")
    with pytest.raises(MigrationRefused, match=TWO):
        await migrate(empty_database, folder=files)
    assert [s.state for s in await status(empty_database, folder=files)] == ["applied", "pending", "pending"]


async def test_history_of_devices_that_are_gone_is_reported_and_new_rows_are_checked_meanwhile(
    empty_database: str,
) -> None:
    await build(empty_database, BEFORE)
    await run(
        empty_database,
        """create table device_firmware_history (
            id uuid primary key default gen_random_uuid(), device_id uuid not null, firmware_version text not null)""",
    )
    history = "insert into device_firmware_history (device_id, firmware_version) values"
    await run(empty_database, f"{history} ('{NOBODY}', '1.0')")
    report = await migrate(empty_database)
    assert [name for name in report.skipped if "firmware_history_device" in name] == list(report.skipped)
    assert len(report.skipped) == 1
    await run(empty_database, f"{history} ('{VALVE}', '1.0')")
    await run(empty_database, f"delete from device_firmware_history where device_id = '{NOBODY}'")
    assert (await migrate(empty_database)).applied == report.skipped


async def test_warnings_that_a_file_raises_are_in_the_report(empty_database: str, files: Path) -> None:
    (files / TWO).write_text("do $$ begin raise warning 'mind the gap' using hint = 'step over'; end $$;\n")
    (warning,) = (await migrate(empty_database, folder=files)).warnings
    assert "mind the gap" in warning
    assert "step over" in warning


@pytest.mark.parametrize("name", ["add_column.sql", "2026_add.sql", "20260101000009_Add.sql"])
def test_a_name_that_has_no_place_in_the_order_is_refused(name: str, files: Path) -> None:
    (files / name).write_text("select 1;\n")
    with pytest.raises(MigrationRefused, match=name):
        discover(files)


def test_two_statements_outside_a_transaction_are_refused(files: Path) -> None:
    (files / TWO).write_text("-- no transaction\nvacuum t1;\nvacuum t2;\n")
    with pytest.raises(MigrationRefused, match=f"{TWO}.*split"):
        discover(files)


def test_a_directive_goes_on_over_indented_comment_lines(files: Path) -> None:
    (files / ONE).write_text("-- no transaction\n-- unless: select\n--     true\n-- A remark.\nvacuum t1;\n")
    first = discover(files)[0]
    assert (first.transactional, first.unless) == (False, "select true")


def test_an_installation_without_its_migrations_says_so(tmp_path: Path) -> None:
    with pytest.raises(MigrationRefused, match="missing from this installation"):
        discover(tmp_path / "nowhere")
