"""Advice of `rollcall migrate --status` about a migrated database."""

import re

from ingest.migrate import migrate
from ingest.migrate.advice import advice
from tests.ingest.migrate.conftest import run
from tests.ingest.migrate.platforms import BEFORE, WHOLE, build


async def test_there_is_nothing_to_say_about_a_database_of_our_own(database: str) -> None:
    assert await advice(database) == []


async def test_room_for_updates_is_advised_where_pages_are_filled_up_and_not_where_some_is_left(
    database: str,
) -> None:
    await run(database, "alter table devices set (fillfactor = 90)")
    assert await advice(database) == []
    for full in ("set (fillfactor = 91)", "reset (fillfactor)"):
        await run(database, f"alter table devices {full}")
        assert ["fills its pages" in sentence for sentence in await advice(database)] == [True]


async def test_there_is_nothing_to_say_before_the_first_run(empty_database: str) -> None:
    assert await advice(empty_database) == []


async def test_each_index_that_makes_updates_dear_is_named_with_its_columns_and_left_alone(
    empty_database: str,
) -> None:
    await build(empty_database, WHOLE)
    await migrate(empty_database)
    said = "\n".join(await advice(empty_database))
    for index in ("idx_devices_status", "idx_devices_last_seen", "idx_devices_last_seen_online"):
        assert re.search(rf"^{index} \(\d+ \w+, used \d+ times\) covers", said, re.M)
        assert await run(empty_database, f"select to_regclass('{index}') is not null") == [(True,)]
    assert "idx_devices_cohort" not in said
    assert "fillfactor = 70" in said


async def test_what_is_advised_helps(empty_database: str) -> None:
    await build(empty_database, WHOLE)
    await migrate(empty_database)
    await run(
        empty_database,
        "update pg_index set indisvalid = false where indexrelid = 'idx_devices_cohort'::regclass",
    )
    await run(empty_database, "alter table devices add constraint named check (name <> '') not valid")
    await run(
        empty_database,
        """create or replace function update_device_firmware() returns trigger language plpgsql as
        $$ begin return new; end $$""",
    )
    said = await advice(empty_database)
    assert len(said) == 7
    for sentence in said:
        await run(empty_database, sentence.rpartition(": ")[2])
    assert await advice(empty_database) == []


async def test_a_trigger_function_of_the_platform_is_ours_after_migrating(empty_database: str) -> None:
    await build(empty_database, BEFORE)
    await migrate(empty_database)
    assert not [sentence for sentence in await advice(empty_database) if "trg_update" in sentence]
