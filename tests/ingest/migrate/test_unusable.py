"""A platform that cannot be used is named at once: by `migrate` before it changes anything, by `run` at the start."""

import itertools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.cli import main
from ingest.errors import MigrationRefused
from ingest.migrate import migrate
from ingest.migrate.platform import check_start
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, build
from tests.ingest.migrate.test_pooler import Behind, behind

__all__ = ["behind"]
_numbers = itertools.count(1)
ODD = {
    "status as text": (
        "alter table devices alter status drop default; alter table devices alter status type text",
        "devices.status is text and must be public.device_status",
    ),
    "the enum elsewhere": (
        "create schema app; alter type device_status set schema app",
        "devices.status is app.device_status and must be public.device_status",
    ),
    "times without a zone": (
        "alter table devices alter last_seen type timestamp",
        "devices.last_seen is timestamp without time zone and must be timestamp with time zone",
    ),
    "ids as text": (
        "alter table devices drop constraint devices_pkey cascade; alter table devices alter id drop default;"
        " alter table devices alter id type text",
        "devices.id is text and must be uuid",
    ),
    "settings as json": (
        "alter table device_integrations alter settings drop default;"
        " alter table device_integrations alter settings type json",
        "device_integrations.settings is json and must be jsonb",
    ),
}


@pytest.mark.parametrize("change, named", ODD.values(), ids=ODD)
async def test_a_platform_of_other_types_is_named_before_anything_is_changed(
    empty_database: str, change: str, named: str
) -> None:
    await build(empty_database, BEFORE)
    await run_all(empty_database, change)
    for attempt in (migrate(empty_database), check_start(empty_database, empty_database)):
        with pytest.raises(MigrationRefused) as refused:
            await attempt
        assert named in str(refused.value)
    assert await run(empty_database, "select to_regnamespace('rollcall') is null") == [(True,)]


@pytest.fixture
async def blind(database: str) -> AsyncIterator[str]:
    """A login role on a migrated database that may do nothing yet."""
    name = f"blind_{os.getpid()}_{next(_numbers)}"
    await run(database, f"create role {name} login")
    yield name
    await run(database, f"drop owned by {name} cascade")
    await run(database, f"drop role {name}")


async def test_a_role_that_cannot_see_the_devices_is_named(database: str, blind: str) -> None:
    theirs = database.replace("postgres@", f"{blind}@")
    with pytest.raises(MigrationRefused, match=f"{blind} may not read public.devices"):
        await check_start(theirs, theirs)
    await run(database, f"grant select on all tables in schema public to {blind}")
    with pytest.raises(MigrationRefused, match=f"hides public.devices from the role {blind}"):
        await check_start(theirs, theirs)
    await run(database, f"create policy whole on devices to {blind} using (true)")
    await check_start(theirs, theirs)


def test_run_names_it_at_the_start_and_ends_with_1(
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", empty_database)
    monkeypatch.delenv("ROLLCALL_DATABASE_DIRECT_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["rollcall", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "run `rollcall migrate`" in capsys.readouterr().err


async def test_run_behind_a_pooler_without_a_direct_url_is_refused_as_migrate_is(behind: Behind) -> None:
    pooled = behind("transaction")
    with pytest.raises(MigrationRefused, match="set ROLLCALL_DATABASE_DIRECT_URL"):
        await check_start(pooled, pooled)


async def run_all(dsn: str, statements: str) -> None:
    for statement in statements.split(";"):
        await run(dsn, statement)


async def test_a_migration_that_a_row_violates_does_not_quote_the_row(
    empty_database: str, tmp_path: Path
) -> None:
    (tmp_path / "20270101000000_odd.sql").write_text(
        "create table public.odd (secret text, n int check (n > 0));\n"
        "insert into public.odd values ('hunter2 of plant 7', 0);\n"
    )
    with pytest.raises(MigrationRefused) as refused:
        await migrate(empty_database, folder=tmp_path)
    assert "odd_n_check" in str(refused.value)
    assert "plant 7" not in str(refused.value)
