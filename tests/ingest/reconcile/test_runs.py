"""A run's effect on the rows, and its report of itself."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from handlers.events import SECOND, DeviceKey, Observation, Presence
from ingest.clock import StrictClock
from ingest.errors import Misconfigured, ProviderAway
from ingest.store.commit.retention import RUNS_KEPT, Retention
from tests.ingest.reconcile.fleet import Fleet, micros
from tests.servers.golioth import START
from tests.servers.http import Fault

LATER = micros(START) + 3_600 * SECOND


def event(fleet: Fleet, name: str, at: int, **said: Any) -> Observation:
    return Observation(fleet.integration, DeviceKey(name), at, at, at, "webhook", **said)


async def test_a_listed_device_that_nobody_knew_is_made_with_all_that_the_provider_says(fleet: Fleet) -> None:
    run = (await fleet.reconcile()).run
    assert (run.status, run.listed, run.created, run.errors) == ("done", 10, 10, [])
    row = await fleet.row("d3")
    assert (row["name"], row["serial_number"], row["hardware_ids"]) == ("SN-d3", "SN-d3", ["hw-d3"])
    assert (row["cohort_id"], row["golioth_status"], row["firmware_version"]) == (
        "cohort1",
        "enabled",
        "1.2.3",
    )
    assert (row["status"], row["battery_level"]) == ("offline", 77)
    assert row["last_seen_online"] == START + timedelta(seconds=50)
    assert row["last_seen_offline"] == START + timedelta(seconds=50 + 900), "it was silent from then on"
    assert orjson.loads(row["metadata"]) == {"tags": ["field"]}


async def test_a_second_run_finds_nothing_to_change(fleet: Fleet) -> None:
    await fleet.reconcile()
    before = await fleet.everything()
    run = (await fleet.reconcile()).run
    assert (run.status, run.matched, run.unchanged, run.changed, run.created) == ("done", 10, 10, 0, 0)
    after = await fleet.everything()
    untouched = ("devices", "rollcall.device_facts", "rollcall.device_identity", "device_firmware_history")
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


async def test_a_row_of_the_platform_with_the_serial_number_is_the_listed_device(fleet: Fleet) -> None:
    await fleet.pool.execute(
        "insert into devices (organization_id, name, device_type, serial_number)"
        " select organization_id, 'Pump', 'pump', 'SN-d4' from device_integrations"
    )
    run = (await fleet.reconcile()).run
    assert (run.created, run.matched, run.changed) == (9, 1, 1)
    row = await fleet.row("d4")
    assert (row["name"], row["device_type"], row["cohort_id"]) == ("Pump", "pump", "cohort1")


async def test_an_event_newer_than_the_listing_survives_it(fleet: Fleet) -> None:
    await fleet.reconcile()
    await fleet.tell(event(fleet, "d1", LATER, presence=Presence.OFFLINE))
    now = StrictClock()()
    await fleet.tell(event(fleet, "d2", now, battery_level=5, firmware=(("main", "9.9.9"),)))
    await fleet.reconcile()
    assert (await fleet.row("d1"))["status"] == "offline"
    row = await fleet.row("d2")
    assert (row["battery_level"], row["firmware_version"]) == (5, "9.9.9")


async def test_a_value_without_a_time_replaces_what_is_older_than_the_lag(fleet: Fleet) -> None:
    await fleet.tell(event(fleet, "d1", StrictClock()() - 600 * SECOND, battery_level=5))
    await fleet.reconcile()
    assert (await fleet.row("d1"))["battery_level"] == 77


async def test_a_time_in_the_future_is_not_believed_and_is_said(fleet: Fleet) -> None:
    fleet.cloud.devices["d1"]["lastReport"] = "2999-01-01T00:00:00Z"
    run = (await fleet.reconcile()).run
    assert run.errors == ["d1: online_at is dated in the future"]
    assert (await fleet.row("d1"))["last_seen_online"] is None


async def test_each_run_is_one_row_of_the_integrations_timeline(fleet: Fleet) -> None:
    run = (await fleet.reconcile()).run
    (row,) = await fleet.pool.fetch(
        "select kind, detail from rollcall.device_events where subject = $1", fleet.integration
    )
    detail = orjson.loads(row["detail"])
    assert (row["kind"], detail["run"], detail["created"]) == ("reconciled", str(run.id), "10")


async def test_a_listing_that_breaks_off_is_applied_as_far_as_it_came(fleet: Fleet) -> None:
    def break_off(page: int) -> None:
        if page == 3:
            fleet.cloud.http.always = Fault("status", 500)

    fleet.cloud.before_page = break_off
    outcome = await fleet.reconcile()
    assert (outcome.run.status, outcome.run.created, outcome.run.missing) == ("incomplete", 6, 0)
    assert isinstance(outcome.error, ProviderAway)
    assert "ended early" in outcome.run.detail
    fleet.cloud.http.always = None
    fleet.cloud.before_page = lambda number: None
    assert (await fleet.reconcile()).run.counts["created"] == 4


async def test_a_refused_key_fails_the_run_and_says_so(fleet: Fleet) -> None:
    fleet.cloud.api_key = "another"
    outcome = await fleet.reconcile()
    assert (outcome.run.status, outcome.run.listed) == ("failed", 0)
    assert isinstance(outcome.error, Misconfigured)
    assert "401" in (await fleet.last_run())["detail"]


async def test_unknown_devices_are_parked_where_the_integration_wants_it_and_applied_when_they_appear(
    fleet: Fleet,
) -> None:
    await fleet.pool.execute("""update device_integrations set settings = '{"unknown_devices": "park"}'""")
    run = (await fleet.reconcile()).run
    assert (run.created, run.unknown) == (0, 10)
    await fleet.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " select organization_id, id, 'd5', 'mine', 'x' from device_integrations"
    )
    assert (await fleet.reconcile()).run.matched == 1
    assert (await fleet.row("d5"))["battery_level"] == 77
    parked = await fleet.pool.fetch("select external_device_id from rollcall.parked_devices")
    assert len(parked) == 9


async def test_no_more_devices_are_made_than_the_cap_allows(fleet: Fleet) -> None:
    policy = orjson.dumps({"unknown_devices": {"policy": "create", "max_total": 4}}).decode()
    await fleet.pool.execute("update device_integrations set settings = $1", policy)
    run = (await fleet.reconcile()).run
    assert (run.created, run.unknown) == (4, 6)


async def test_the_cap_a_minute_is_for_invented_ids_and_not_for_a_listing(fleet: Fleet) -> None:
    policy = orjson.dumps({"unknown_devices": {"policy": "create", "max_per_minute": 2}}).decode()
    await fleet.pool.execute("update device_integrations set settings = $1", policy)
    assert (await fleet.reconcile()).run.created == 10


async def test_one_device_that_the_database_refuses_costs_only_itself(fleet: Fleet) -> None:
    await fleet.pool.execute("alter table devices add check (name <> 'SN-d7')")
    run = (await fleet.reconcile()).run
    assert (run.status, run.created) == ("done", 9)
    assert "d7: refused by the database" in run.errors[0]


async def test_housekeeping_keeps_the_last_runs_and_no_staging_of_runs_that_ended(fleet: Fleet) -> None:
    await fleet.pool.execute(
        "insert into rollcall.reconcile_runs (id, integration_id, trigger, status, holder, started_at)"
        " select gen_random_uuid(), $1, 'period', 'done', 'h', now() - n * interval '1 minute'"
        " from generate_series(1, 150) n",
        fleet.integration,
    )
    await fleet.pool.execute(
        "insert into rollcall.reconcile_staging (run_id, external_id, listed_at, device)"
        " select gen_random_uuid(), 'x', 0, '{}' from generate_series(1, 30)"
    )
    await Retention(fleet.pool).expire(chunk=20)
    assert await fleet.pool.fetchval("select count(*) from rollcall.reconcile_runs") == RUNS_KEPT
    assert await fleet.pool.fetchval("select count(*) from rollcall.reconcile_staging") == 0


@pytest.mark.parametrize("wrong", ['{"unknown_devices": "perhaps"}', '{"offline_after_s": 1}'])
async def test_settings_that_cannot_be_used_fail_the_run_and_name_the_key(fleet: Fleet, wrong: str) -> None:
    await fleet.pool.execute("update device_integrations set settings = $1", wrong)
    run = (await fleet.reconcile()).run
    assert run.status == "failed"
    assert "integration 'g': " in run.detail
