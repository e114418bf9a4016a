"""A listing that misses devices: nothing is deleted or marked offline for it, and a large part stops the run."""

from datetime import UTC, datetime

import pytest

from handlers.events import DeviceKey, Observation
from tests.ingest.reconcile.fleet import Fleet
from tests.servers.golioth import Golioth
from tests.strategies import START


@pytest.fixture
async def fleet(fleet: Fleet, cloud: Golioth) -> Fleet:
    """A hundred devices that are known, all online."""
    cloud.per_page = 50
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for number in range(100):
        device = cloud.add(f"d{number}", lastReport=now)
        device["metadata"]["lastReport"] = now
    await fleet.reconcile()
    return fleet


def forget(fleet: Fleet, count: int) -> None:
    for number in range(count):
        fleet.cloud.devices.pop(f"d{number}")
    for device in fleet.cloud.devices.values():
        device["data"] = {"battery": 11}


async def test_thirty_percent_missing_changes_nothing_and_says_so(fleet: Fleet) -> None:
    forget(fleet, 30)
    before = await fleet.everything()
    run = (await fleet.reconcile()).run
    assert (run.status, run.listed, run.missing, run.matched) == ("stopped", 70, 30, 0)
    assert "misses 30 of 100" in run.detail
    assert "--accept-missing" in run.detail
    after = await fleet.everything()
    told = after.pop("rollcall.device_events"), before.pop("rollcall.device_events")
    assert after == before
    assert len(told[0]) == len(told[1]) + 1


async def test_five_percent_missing_marks_nothing_offline(fleet: Fleet) -> None:
    forget(fleet, 5)
    run = (await fleet.reconcile()).run
    assert (run.status, run.missing, run.matched) == ("done", 5, 95)
    assert await fleet.pool.fetchval("select count(*) from devices where status = 'online'") == 100
    assert (await fleet.row("d50"))["battery_level"] == 11


async def test_devices_that_no_listing_ever_had_stop_nothing(fleet: Fleet) -> None:
    """Events have made them."""
    keys = [DeviceKey(f"w{number}") for number in range(40)]
    await fleet.tell(*(Observation(fleet.integration, key, START, START, START, "webhook") for key in keys))
    run = (await fleet.reconcile()).run
    assert (run.status, run.missing, run.matched) == ("done", 40, 100)


async def test_what_a_person_has_accepted_as_missing_stops_no_later_run(fleet: Fleet) -> None:
    forget(fleet, 30)
    assert (await fleet.reconcile()).run.status == "stopped"
    assert (await fleet.reconcile(accept_missing=True)).run.status == "done"
    run = (await fleet.reconcile()).run
    assert (run.status, run.missing) == ("done", 30)


async def test_an_empty_listing_changes_nothing(fleet: Fleet) -> None:
    fleet.cloud.devices.clear()
    assert (await fleet.reconcile()).run.status == "stopped"


async def test_a_device_that_comes_back_counts_again(fleet: Fleet) -> None:
    gone = {name: fleet.cloud.devices.pop(name) for name in ("d1", "d2")}
    assert (await fleet.reconcile()).run.missing == 2
    fleet.cloud.devices.update(gone)
    assert (await fleet.reconcile()).run.missing == 0
    unlisted = "select count(*) from rollcall.device_identity where unlisted_at is not null"
    assert await fleet.pool.fetchval(unlisted) == 0
