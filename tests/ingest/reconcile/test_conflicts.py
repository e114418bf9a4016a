"""Fields on which the row and the provider differ: each policy, once, and closing."""

from typing import Any

import pytest

from ingest.errors import DatabaseAway
from ingest.reconcile.phases import Options
from ingest.reconcile.runs import Run, Runs
from tests.ingest.reconcile.fleet import Fleet
from tests.servers.http import Fault

OPEN = "select field_name, local_value, remote_value from sync_conflicts where resolved_at is null"


async def set_row(fleet: Fleet, assignment: str) -> None:
    await fleet.pool.execute(f"update devices set {assignment} where serial_number = 'SN-d1'")


def set_cloud(fleet: Fleet, **changes: Any) -> None:
    minute = int(fleet.cloud.devices["d1"]["updatedAt"][14:16]) + 1
    fleet.cloud.devices["d1"] |= {"updatedAt": f"2026-01-01T00:{minute:02}:00Z", **changes}


def writes(fleet: Fleet) -> list[Any]:
    return [request.json() for request in fleet.cloud.http.requests if request.method == "PATCH"]


async def test_a_field_that_only_the_provider_changed_is_taken(fleet: Fleet) -> None:
    await fleet.reconcile()
    set_cloud(fleet, cohortId="cohort2", enabled=False)
    run = (await fleet.reconcile()).run
    assert (run.changed, run.conflicts, run.pushed) == (1, 0, 0)
    row = await fleet.row("d1")
    assert (row["cohort_id"], row["golioth_status"]) == ("cohort2", "disabled")


async def test_a_manual_field_that_only_the_row_changed_is_kept_and_nothing_is_told(fleet: Fleet) -> None:
    await fleet.reconcile()
    await set_row(fleet, "cohort_id = 'ours'")
    run = (await fleet.reconcile()).run
    assert (run.conflicts, run.pushed, writes(fleet)) == (0, 0, [])
    assert (await fleet.row("d1"))["cohort_id"] == "ours"


async def test_a_field_that_both_changed_is_one_conflict_until_they_agree(fleet: Fleet) -> None:
    await fleet.reconcile()
    await set_row(fleet, "cohort_id = 'ours'")
    set_cloud(fleet, cohortId="theirs")
    for _ in range(3):
        assert (await fleet.reconcile()).run.conflicts == 1
    assert [tuple(row) for row in await fleet.pool.fetch(OPEN)] == [("cohort_id", '"ours"', '"theirs"')]
    await set_row(fleet, "cohort_id = 'theirs'")
    assert (await fleet.reconcile()).run.conflicts == 0
    assert await fleet.pool.fetch(OPEN) == []
    assert await fleet.pool.fetchval("select count(*) from sync_conflicts") == 1


async def test_tags_of_both_sides_are_united_and_pushed_once(fleet: Fleet) -> None:
    await fleet.reconcile()
    await set_row(fleet, """metadata = '{"tags": ["field", "ours"]}'""")
    fleet.cloud.tags["tag2"] = "theirs"
    set_cloud(fleet, tagIds=["tag1", "tag2"])
    run = (await fleet.reconcile()).run
    assert (run.pushed, run.conflicts) == (1, 0)
    tags = {fleet.cloud.tags[tag] for tag in fleet.cloud.devices["d1"]["tagIds"]}
    assert tags == {"field", "ours", "theirs"}
    again = (await fleet.reconcile()).run
    assert (again.pushed, again.unchanged, len(writes(fleet))) == (0, 10, 1)


async def test_a_push_that_failed_is_tried_again_by_the_next_run(fleet: Fleet) -> None:
    await fleet.reconcile()
    await set_row(fleet, """metadata = '{"tags": ["field", "ours"]}'""")
    fleet.cloud.http.fail_write = Fault("status", 400, {"code": 3, "message": "no"})
    run = (await fleet.reconcile()).run
    assert (run.status, run.pushed, len(run.errors)) == ("done", 0, 1)
    assert (await fleet.reconcile()).run.pushed == 1
    assert (await fleet.reconcile()).run.pushed == 0


async def test_a_database_that_goes_away_during_a_push_leaves_a_run_that_is_resumed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.reconcile()
    await set_row(fleet, """metadata = '{"tags": ["field", "ours"]}'""")
    move = Runs.move

    async def away(self: Runs, connection: Any, run: Run, **counted: int) -> None:
        if "pushed" in counted:
            raise DatabaseAway("gone")
        await move(self, connection, run, **counted)

    with monkeypatch.context() as patched:
        patched.setattr(Runs, "move", away)
        with pytest.raises(DatabaseAway):
            await fleet.reconcile()
    left = await fleet.last_run()
    assert left["status"] == "running"
    run = (await fleet.reconcile()).run
    assert (run.id, run.status) == (left["id"], "done")


async def test_a_name_that_a_person_gave_stays_and_is_not_told_to_golioth_whose_name_is_the_serial_number(
    fleet: Fleet,
) -> None:
    await fleet.reconcile()
    await set_row(fleet, "name = 'Pump'")
    run = (await fleet.reconcile()).run
    assert (run.pushed, writes(fleet)) == (0, [])
    row = await fleet.row("d1")
    assert (row["name"], row["serial_number"]) == ("Pump", "SN-d1")


async def test_the_order_of_hardware_ids_and_tags_is_no_difference(fleet: Fleet) -> None:
    set_cloud(fleet, hardwareIds=["b", "a"])
    await set_row(fleet, "hardware_ids = '{b,a}'")
    await fleet.reconcile()
    await set_row(fleet, "hardware_ids = '{b,a}'")
    run = (await fleet.reconcile()).run
    assert (run.conflicts, run.changed) == (0, 0)


async def test_a_serial_number_of_another_row_is_said_once_and_taken_when_it_is_free(fleet: Fleet) -> None:
    await fleet.reconcile()
    await fleet.pool.execute(
        "insert into devices (organization_id, name, device_type, serial_number)"
        " select organization_id, 'o', 'o', 'SN-new' from device_integrations"
    )
    set_cloud(fleet, name="SN-new")
    for _ in range(3):
        await fleet.reconcile()
    conflicts = "select count(*) from rollcall.device_events where kind = 'conflict'"
    assert await fleet.pool.fetchval(conflicts) == 1
    await fleet.pool.execute("delete from devices where name = 'o'")
    await fleet.reconcile()
    assert (await fleet.row("d1"))["serial_number"] == "SN-new"


async def test_names_that_mean_different_rows_are_told_once_over_runs_and_a_dry_run_tells_nobody(
    fleet: Fleet,
) -> None:
    await fleet.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type, serial_number)"
        " select organization_id, id, 'd0', 'a', 'x', null from device_integrations union all"
        " select organization_id, null, null, 'b', 'x', 'SN-d0' from device_integrations"
    )
    await fleet.pool.execute("""update device_integrations set settings = '{"unknown_devices": "ignore"}'""")
    reconciler = fleet.reconciler()
    for dry_run in (True, False, False, False):
        await reconciler.reconcile(fleet.integration, Options(dry_run=dry_run))
    told = "select d.name from rollcall.device_events e join devices d on d.id = e.subject where e.kind = 'conflict'"
    assert sorted(row[0] for row in await fleet.pool.fetch(told)) == ["a", "b"]
