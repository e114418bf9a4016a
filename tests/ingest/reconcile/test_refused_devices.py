"""A listed device that the database refuses costs itself alone: the run names it in its errors, and is done."""

import pytest

from ingest.errors import DatabaseAway
from tests.ingest.reconcile.fleet import Fleet

RAISES = """
create function public.odd_trigger() returns trigger language plpgsql as $$ begin
    if new.name like '%s' then raise 'this device is retired'; end if;
    return new;
end $$;
create trigger odd_trigger before insert or update on public.devices
    for each row execute function public.odd_trigger()
"""


LATER = "2026-01-02T00:00:00Z"


def all_reported_again(fleet: Fleet) -> None:
    """Let every device have been seen later, with a new cohort."""
    for device in fleet.cloud.devices.values():
        device["metadata"]["lastReport"] = device["lastReport"] = LATER
        device["cohortId"] = "cohort2"


async def test_a_device_whose_row_cannot_be_made_is_named_and_the_others_are_there(fleet: Fleet) -> None:
    await fleet.pool.execute("alter table devices add constraint odd check (name <> 'd3') not valid")
    await fleet.pool.execute("create unique index odd_name on devices (organization_id, lower(name))")
    await fleet.pool.execute(
        "insert into devices (organization_id, name, device_type) select organization_id, 'D7', 'x'"
        " from device_integrations"
    )
    run = (await fleet.reconcile()).run
    assert (run.status, run.created) == ("done", 8)
    assert any("d3" in error and "23514" in error for error in run.errors), run.errors
    assert any("d7" in error and "23505" in error for error in run.errors), run.errors


async def test_a_device_for_which_a_trigger_raises_is_named_and_the_others_are_applied(fleet: Fleet) -> None:
    await fleet.reconcile()
    all_reported_again(fleet)
    await fleet.pool.execute(RAISES % "SN-d3")
    run = (await fleet.reconcile()).run
    assert run.status == "done"
    assert [error for error in run.errors if "d3" in error and "P0001" in error], run.errors
    assert (await fleet.row("d3"))["cohort_id"] == "cohort1"
    assert (await fleet.row("d4"))["cohort_id"] == "cohort2"


async def test_where_the_database_takes_no_device_at_all_the_run_is_not_done(fleet: Fleet) -> None:
    for number in range(10, 30):
        fleet.cloud.add(f"d{number}")
    await fleet.reconcile()
    all_reported_again(fleet)
    await fleet.pool.execute(RAISES % "%")
    with pytest.raises(DatabaseAway, match="takes none"):
        await fleet.reconcile()
    assert (await fleet.last_run())["status"] == "running"
