"""Kill -9 in each phase of a run: the next process ends it right, and asks for no finished page again."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.ingest.reconcile.fleet import Fleet
from tests.servers.golioth import Golioth, MadeFleet
from tests.servers.http import Fault
from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

DEVICES = 2_500
"""More than a chunk."""
PAGES = 26


@pytest.fixture
async def rollcall(database: str, tmp_path: Path) -> AsyncIterator[RollcallProcess]:
    process = RollcallProcess(database, tmp_path / "log")
    yield process
    process.kill9()


@pytest.fixture
async def fleet(database: str, pool: asyncpg.Pool, cloud: Golioth) -> Fleet:
    cloud.devices = MadeFleet(DEVICES)
    return await Fleet.make(database, pool, cloud)


def asked(fleet: Fleet) -> Counter[int]:
    """How often each page was asked for."""
    listings = [one for one in fleet.cloud.http.requests if one.path.endswith("/devices")]
    return Counter(int(one.query["page"][0]) for one in listings)


async def seen(fleet: Fleet, condition: str, within_s: float = 20) -> None:
    """Wait until a run is so."""

    async def holds() -> bool:
        query = f"select exists (select from rollcall.reconcile_runs where {condition})"
        return bool(await fleet.pool.fetchval(query))

    await until(holds, within_s, condition)


async def assert_the_next_one_ends_right(fleet: Fleet, rollcall: RollcallProcess) -> int:
    """Return how many runs have followed: one that began before its process did is soon followed by a whole one."""
    rollcall.start()
    await seen(fleet, "status <> 'running'")
    assert rollcall.stop() == 0
    run = await fleet.pool.fetchrow("select * from rollcall.reconcile_runs order by started_at limit 1")
    assert (run["status"], run["listed"], run["created"] + run["matched"]) == ("done", DEVICES, DEVICES)
    counts = await fleet.pool.fetchrow(
        "select count(*), count(*) filter (where battery_level = 77 and status = 'offline' and cohort_id = 'cohort1'"
        " and firmware_version = '1.2.3') as whole from devices"
    )
    assert tuple(counts) == (DEVICES, DEVICES)
    left = "select count(*) from rollcall.reconcile_staging where run_id = $1"
    assert await fleet.pool.fetchval(left, run["id"]) == 0

    async def is_free() -> bool:
        query = "select count(*) from rollcall.leases where name like 'reconcile/%' and expires_at > now()"
        return bool(await fleet.pool.fetchval(query) == 0)

    await until(is_free, 5, "the lease is free")
    return int(await fleet.pool.fetchval("select count(*) - 1 from rollcall.reconcile_runs"))


async def test_while_pages_come(fleet: Fleet, rollcall: RollcallProcess) -> None:
    def kill_at_the_tenth(page: int) -> None:
        if page == 10:
            rollcall.kill9()

    fleet.cloud.before_page = kill_at_the_tenth
    rollcall.start()
    await until(lambda: fleet.cloud.pages >= 10, 20, "ten pages were asked for")
    finished = await fleet.pool.fetchval("select listed from rollcall.reconcile_runs") // 100
    assert finished >= 7
    followed = await assert_the_next_one_ends_right(fleet, rollcall)
    again = {page: times for page, times in asked(fleet).items() if page < finished and times > 1 + followed}
    assert again == {}


async def test_before_the_guards_have_looked(fleet: Fleet, rollcall: RollcallProcess) -> None:
    async with fleet.pool.acquire() as connection, connection.transaction():
        await connection.execute("lock table rollcall.device_identity in access exclusive mode")
        rollcall.start()
        await seen(fleet, "phase = 'listed'")
        rollcall.kill9()
    pages = fleet.cloud.pages
    followed = await assert_the_next_one_ends_right(fleet, rollcall)
    assert fleet.cloud.pages <= pages + followed * PAGES


async def test_between_two_chunks(fleet: Fleet, rollcall: RollcallProcess) -> None:
    last = f"d{DEVICES - 1}"
    async with fleet.pool.acquire() as connection, connection.transaction():
        # the second chunk waits for this name to be free
        await connection.execute(
            "insert into devices (organization_id, name, device_type, serial_number)"
            " select organization_id, 'x', 'x', $1 from device_integrations",
            f"SN-{last}",
        )
        rollcall.start()
        await seen(fleet, "phase = 'applying' and created = 2000")
        rollcall.kill9()
        await connection.execute("delete from devices where name = 'x'")
    pages = fleet.cloud.pages
    followed = await assert_the_next_one_ends_right(fleet, rollcall)
    assert fleet.cloud.pages <= pages + followed * PAGES


async def test_while_changes_are_pushed(fleet: Fleet, rollcall: RollcallProcess) -> None:
    devices = {f"d{number}": fleet.cloud.devices[f"d{number}"] for number in range(DEVICES)}
    fleet.cloud.devices = devices
    await fleet.pool.execute(
        "insert into devices (organization_id, name, device_type, serial_number, metadata)"
        """ select organization_id, 'Pump', 'x', 'SN-d3', '{"tags": ["ours"]}' from device_integrations"""
    )
    fleet.cloud.http.fail_write = Fault("silent")
    rollcall.start()
    await until(
        lambda: any(one.method != "GET" for one in fleet.cloud.http.requests),
        20,
        "a push is on its way",
    )
    rollcall.kill9()
    await assert_the_next_one_ends_right(fleet, rollcall)
    await fleet.reconcile()
    assert await fleet.pool.fetchval("select sum(pushed) from rollcall.reconcile_runs") == 1
    tags = {fleet.cloud.tags[tag] for tag in devices["d3"]["tagIds"]}
    assert tags == {"ours", "field"}
