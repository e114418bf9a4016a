"""schema/functions: applied again when a file has changed, never by an older release, never needed by a migration."""

import asyncio
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

import ingest
from ingest.errors import MigrationRefused
from ingest.migrate import migrate, status
from ingest.migrate.files import MIGRATIONS, discover
from ingest.migrate.functions import FUNCTIONS, FunctionFile, discover_functions
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, WHOLE, build, until
from tests.ingest.migrate.test_crash import WAITING, process

SLEEPING = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
ONE, TWO, LAST = "10-one.sql", "20-two.sql", "99-last.sql"
DEFINED = re.compile(r"^create (?:or replace )?function (rollcall\.\w+)\(", re.MULTILINE)


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """The folder of the migrations of a small schema with two files of functions beside it."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (tmp_path / "functions").mkdir()
    (folder / "20260101000000_one.sql").write_text("create table public.t (id int);\n")
    define(folder, ONE, "one", 1)
    define(folder, TWO, "two", 2)
    return folder


def define(folder: Path, file: str, function: str, value: int) -> None:
    (folder.parent / "functions" / file).write_text(
        f"create or replace function rollcall.{function}() returns int language sql as $$ select {value} $$;\n"
    )


async def value(dsn: str, function: str) -> int:
    (row,) = await run(dsn, f"select rollcall.{function}()")
    return int(row[0])


async def test_a_file_that_changed_is_applied_again_and_no_other(empty_database: str, schema: Path) -> None:
    report = await migrate(empty_database, folder=schema)
    assert report.applied == ("20260101000000_one.sql", f"functions/{ONE}", f"functions/{TWO}")
    define(schema, TWO, "two", 22)
    for dry_run in (True, False):
        report = await migrate(empty_database, folder=schema, dry_run=dry_run)
        assert report.applied == (f"functions/{TWO}",)
    assert (await value(empty_database, "one"), await value(empty_database, "two")) == (1, 22)
    assert (await migrate(empty_database, folder=schema)).applied == ()


async def test_line_ends_are_no_change(empty_database: str, schema: Path) -> None:
    await migrate(empty_database, folder=schema)
    file = schema.parent / "functions" / ONE
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert (await migrate(empty_database, folder=schema)).applied == ()


async def test_all_changed_files_are_applied_or_none_and_the_one_that_fails_is_named(
    empty_database: str, schema: Path
) -> None:
    await migrate(empty_database, folder=schema)
    define(schema, ONE, "one", 11)
    (schema.parent / "functions" / TWO).write_text("select 1 / 0;\n")
    with pytest.raises(MigrationRefused, match=f"functions/{TWO}.*division by zero"):
        await migrate(empty_database, folder=schema)
    assert await value(empty_database, "one") == 1
    states = {s.filename: s.state for s in await status(empty_database, folder=schema)}
    assert (states[f"functions/{ONE}"], states[f"functions/{TWO}"]) == ("pending", "pending")
    define(schema, TWO, "two", 22)
    assert len((await migrate(empty_database, folder=schema)).applied) == 2
    assert await value(empty_database, "one") == 11


async def test_a_file_that_a_release_removed_is_forgotten_with_the_next_change(
    empty_database: str, schema: Path
) -> None:
    await migrate(empty_database, folder=schema)
    (schema.parent / "functions" / TWO).unlink()
    define(schema, ONE, "one", 11)
    await migrate(empty_database, folder=schema)
    assert await run(empty_database, "select filename from rollcall.functions") == [(f"functions/{ONE}",)]


async def test_a_release_that_lacks_a_migration_of_the_database_leaves_its_functions(
    empty_database: str, schema: Path
) -> None:
    newer = schema / "20260101000001_two.sql"
    newer.write_text("create table public.u (id int);\n")
    define(schema, TWO, "two", 22)
    await migrate(empty_database, folder=schema)
    newer.unlink()
    define(schema, TWO, "two", 2)
    await left_alone(empty_database, schema)


async def test_a_release_before_the_one_that_changed_a_function_leaves_it(
    empty_database: str, schema: Path
) -> None:
    await migrate(empty_database, folder=schema, release="0.9.0")
    define(schema, TWO, "two", 22)
    await migrate(empty_database, folder=schema, release="0.10.0")
    define(schema, TWO, "two", 2)
    await left_alone(empty_database, schema, "0.9.0")
    define(schema, TWO, "two", 23)
    assert (await migrate(empty_database, folder=schema, release="0.10.0")).applied == (f"functions/{TWO}",)


async def test_a_release_before_the_one_that_brought_a_file_applies_none_of_its_own(
    empty_database: str, schema: Path
) -> None:
    await migrate(empty_database, folder=schema, release="1.0")
    (schema.parent / "functions" / TWO).rename(schema.parent / "functions" / "30-two.sql")
    define(schema, "30-two.sql", "two", 22)
    await migrate(empty_database, folder=schema, release="1.1")
    (schema.parent / "functions" / "30-two.sql").unlink()
    define(schema, TWO, "two", 2)
    await left_alone(empty_database, schema, "1.0", also="functions/30-two.sql")


async def left_alone(dsn: str, schema: Path, release: str = "0.9.0", also: str = "") -> None:
    """Migrate as an older release and see TWO left alone, with a warning that names it."""
    ours = f"functions/{TWO}"
    rehearsed = await migrate(dsn, folder=schema, release=release, dry_run=True)
    report = await migrate(dsn, folder=schema, release=release)
    for found in (rehearsed, report):
        assert found.applied == ()
        assert {ours, also} - {""} <= set(found.newer)
    (warning,) = report.warnings
    assert "later release" in warning
    assert ours in warning
    assert await value(dsn, "two") == 22
    states = {s.filename: s.state for s in await status(dsn, folder=schema, release=release)}
    assert states[ours] == "newer"


async def test_a_file_without_a_number_is_refused(empty_database: str, schema: Path) -> None:
    define(schema, "three.sql", "three", 3)
    with pytest.raises(MigrationRefused, match=r"three\.sql.*rename it"):
        await migrate(empty_database, folder=schema)


@pytest.mark.parametrize("older", [None, BEFORE, 2, WHOLE])
async def test_migrations_need_no_function_of_the_folder(
    older: int | None, empty_database: str, tmp_path: Path
) -> None:
    if older is not None:
        await build(empty_database, older)
    alone = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, alone)
    report = await migrate(empty_database, folder=alone)
    assert report.applied == tuple(file.name for file in discover())
    assert (report.skipped, report.warnings) == ((), ())
    assert (await migrate(empty_database)).applied == tuple(file.name for file in discover_functions())


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The folder of our migrations, with functions beside it of which the first has changed and the last is new."""
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    shutil.copytree(FUNCTIONS, tmp_path / "functions")
    first = min((tmp_path / "functions").glob("*.sql"))
    first.write_text(first.read_text() + "create function rollcall.first() returns int return 1;\n")
    (tmp_path / "functions" / LAST).write_text("lock table public.device_integrations in share mode;\n")
    return tmp_path / "migrations"


async def test_a_runner_that_is_killed_among_the_functions_leaves_none_of_them(
    database: str, changed: Path
) -> None:
    holder = await asyncpg.connect(database)
    try:
        async with holder.transaction():
            await holder.execute("lock table device_integrations in row exclusive mode")
            runner = await process(database, changed)
            await until(lambda: run(database, WAITING))
            runner.send_signal(signal.SIGKILL)
            await runner.wait()
            await until(lambda: gone(database))
            assert await run(database, "select to_regproc('rollcall.first')") == [(None,)]
            pending = [s.filename for s in await status(database, folder=changed) if s.state == "pending"]
    finally:
        await holder.close()
    assert len(pending) == 2
    assert (await migrate(database, folder=changed)).applied == tuple(pending)
    assert await run(database, "select rollcall.first()") == [(1,)]


async def gone(dsn: str) -> bool:
    runners = "select pid from pg_stat_activity where application_name = 'rollcall migrate'"
    return not await run(dsn, runners)


async def test_who_holds_a_lock_that_functions_need_is_not_cancelled_for_them(
    database: str, changed: Path
) -> None:
    last = changed.parent / "functions" / LAST
    crossing = "select pg_sleep(0.3);\nlock table public.devices in access exclusive mode;\n"
    last.write_text(last.read_text() + crossing)
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("lock table devices in row exclusive mode")
            migration = asyncio.create_task(migrate(database, folder=changed))
            await until(lambda: run(database, SLEEPING))
            # the runner holds device_integrations and will ask for devices: a deadlock if neither gave up
            await other.execute("lock table device_integrations in row exclusive mode")
        assert len((await migration).applied) == 2
    finally:
        await other.close()


def bodies() -> Iterator[tuple[str, str]]:
    """Each function that the files define, with the file, as often as it is defined."""
    for file in (*discover(), *discover_functions()):
        for name in DEFINED.findall(file.sql):
            yield name, file.name


async def test_the_body_of_each_function_is_in_exactly_one_file(database: str) -> None:
    live = await run(
        database, "select oid::regproc::text from pg_proc where pronamespace = 'rollcall'::regnamespace"
    )
    assert sorted(name for name, _ in bodies()) == sorted(name for (name,) in live)


async def test_migrations_define_only_functions_that_they_call() -> None:
    whole = "\n".join(file.sql for file in discover())
    for name in (name for name, file in bodies() if not file.startswith("functions/")):
        assert len(re.findall(rf"{re.escape(name)}\(", whole)) > 1, name


def test_every_function_is_called_by_somebody() -> None:
    schema, service = MIGRATIONS.parent, Path(ingest.__file__).parent
    sources = [
        *(file.sql for file in (*discover(), *discover_functions())),
        *(path.read_text() for path in (schema / "queries").glob("*.sql")),
        *(path.read_text() for path in service.rglob("*.py")),
    ]
    code = re.sub(r"--(?! unless: ).*", "", "\n".join(sources))
    assert [name for name, _ in bodies() if len(re.findall(rf"{re.escape(name)}\b", code)) == 1] == []


@pytest.mark.parametrize("file", discover_functions(), ids=lambda file: file.name)
def test_a_file_says_what_it_is_for_and_is_not_long(file: FunctionFile) -> None:
    assert re.match(r"-- \S.*\n(--.*\n)*\n", file.sql)
    assert len(file.sql.splitlines()) <= 300
