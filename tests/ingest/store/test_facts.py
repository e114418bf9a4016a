"""Facts of providers in the rows: taken, agreed on, kept, or in sync_conflicts, once."""

from typing import Any

import asyncpg
import pytest

from handlers.events import DeviceKey, Facts, Observation
from handlers.evidence import Evidence
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from tests.ingest.store.world import DEVICE, World
from tests.strategies import OFFLINE_AFTER, START

OPEN = "select field_name, local_value, remote_value from sync_conflicts where resolved_at is null"


class Told:
    """A device, and what providers tell about it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.world = World(pool)
        self.applier = Applier(pool)

    async def tell(self, facts: Facts, at: int = START) -> None:
        evidence = Evidence()
        evidence.add(Observation(self.world.integration, DeviceKey("d"), at, at, at, "webhook", facts=facts))
        batch = Batch()
        batch.add(DEVICE, Target(OFFLINE_AFTER, "webhook"), evidence)
        assert await self.applier.commit(batch) == []

    async def row(self, column: str) -> Any:
        return await self.pool.fetchval(f"select {column} from devices where id = $1", DEVICE)

    async def set(self, assignment: str) -> None:
        await self.pool.execute(f"update devices set {assignment} where id = $1", DEVICE)


@pytest.fixture
async def told(database: str):
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    told = Told(pool)
    await told.world.reset()
    yield told
    await pool.close()


async def test_what_the_row_does_not_say_is_taken_from_the_provider(told: Told):
    facts = Facts("Pump", "S", ("a", "b"), "c", "enabled", {"colour": "red"}, ("t",))
    await told.tell(facts)
    columns = "name, serial_number, hardware_ids, cohort_id, golioth_status, metadata ->> 'colour', metadata ->> 'tags'"
    row = await told.pool.fetchrow(f"select {columns} from devices where id = $1", DEVICE)
    assert tuple(row) == ("Pump", "S", ["a", "b"], "c", "enabled", "red", '["t"]')


async def test_a_later_word_of_the_provider_is_taken_and_an_earlier_one_is_not(told: Told):
    await told.tell(Facts(cohort_id="new"), START + 10)
    await told.tell(Facts(cohort_id="old"), START)
    assert await told.row("cohort_id") == "new"
    await told.tell(Facts(cohort_id="newer"), START + 20)
    assert await told.row("cohort_id") == "newer"


async def test_a_name_that_a_person_gave_stays_when_the_provider_changes_its_own(told: Told):
    await told.tell(Facts(name="theirs"))
    await told.set("name = 'ours'")
    await told.tell(Facts(name="theirs again"), START + 10)
    assert await told.row("name") == "ours"
    assert await told.pool.fetch(OPEN) == []


async def test_tags_of_both_sides_are_united(told: Told):
    await told.set("""metadata = '{"tags": ["ours"]}'""")
    await told.tell(Facts(tags=("theirs",)))
    assert await told.row("metadata ->> 'tags'") == '["ours", "theirs"]'


async def test_a_field_that_both_changed_is_a_conflict_once_and_closes_when_they_agree(told: Told):
    await told.tell(Facts(cohort_id="first"))
    await told.set("cohort_id = 'ours'")
    for later in (10, 20, 30):
        await told.tell(Facts(cohort_id="theirs"), START + later)
    assert [tuple(row) for row in await told.pool.fetch(OPEN)] == [("cohort_id", '"ours"', '"theirs"')]
    assert await told.row("cohort_id") == "ours"
    await told.set("cohort_id = 'theirs'")
    await told.tell(Facts(cohort_id="theirs"), START + 40)
    assert await told.pool.fetch(OPEN) == []
    assert await told.pool.fetchval("select count(*) from sync_conflicts") == 1


async def test_a_serial_number_of_another_device_is_not_taken_and_the_rest_is(told: Told):
    await told.pool.execute(
        "insert into devices (organization_id, name, device_type, serial_number)"
        " select organization_id, 'o', 'o', 'S' from devices"
    )
    for later in (0, 10, 20):
        await told.tell(Facts(serial_number="S", cohort_id="c"), START + later)
    assert (await told.row("serial_number"), await told.row("cohort_id")) == (None, "c")
    assert (
        await told.pool.fetchval("select count(*) from rollcall.device_events where kind = 'conflict'") == 1
    )


async def test_a_device_that_is_deleted_over_there_keeps_its_row_and_the_timeline_says_so(told: Told):
    await told.tell(Facts(lifecycle="deleted"))
    assert await told.row("name") == "d"
    kinds = await told.pool.fetch(
        "select kind, source from rollcall.device_events where subject = $1", DEVICE
    )
    assert ("deleted", "webhook") in [tuple(row) for row in kinds]


async def test_that_a_device_is_deleted_is_in_the_timeline_once_a_time_however_often_it_is_told(told: Told):
    for at in (START, START, START, START + 10):
        await told.tell(Facts(lifecycle="deleted"), at)
    deletions = "select count(*) from rollcall.device_events where subject = $1 and kind = 'deleted'"
    assert await told.pool.fetchval(deletions, DEVICE) == 2
