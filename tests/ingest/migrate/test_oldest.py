"""The oldest supported Postgres, with a collation that is not the one of the bytes."""

import pytest

from ingest.migrate import migrate
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, PUMP, WHOLE, build


@pytest.mark.parametrize("older", [BEFORE, 2, WHOLE])
async def test_the_platform_is_extended_on_postgres_15_too(older: int, database_15: str) -> None:
    await build(database_15, older)
    report = await migrate(database_15)
    assert (report.skipped, report.warnings) == ((), ())
    report = await migrate(database_15)
    assert report.applied == ()


@pytest.mark.parametrize("order", [("1.0-B", "1.0-a"), ("1.0-a", "1.0-B")])
async def test_of_two_versions_of_one_time_the_greater_by_bytes_is_the_devices(
    order: tuple[str, str], database_15: str
) -> None:
    await build(database_15, BEFORE)
    await migrate(database_15)
    for version in order:
        await run(
            database_15,
            f"""insert into device_firmware_history (device_id, firmware_version, installed_at)
            values ('{PUMP}', '{version}', '2026-02-02Z')""",
        )
    assert await run(database_15, "select 'a' < 'B'") == [(True,)]
    version = f"select firmware_version from devices where id = '{PUMP}'"
    assert await run(database_15, version) == [("1.0-a",)]
