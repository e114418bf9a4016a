"""What a run does to the rows, and what it says of itself."""

from datetime import timedelta

import orjson

from tests.ingest.reconcile.fleet import Fleet
from tests.servers.golioth import START


async def test_a_listed_device_that_nobody_knew_is_made_with_all_that_the_provider_says(fleet: Fleet) -> None:
    outcome = await fleet.reconcile()
    assert outcome.run.status == "done"
    assert outcome.run.counts | {"listed": 10, "created": 10} == outcome.run.counts
    row = await fleet.row("d3")
    assert (row["name"], row["serial_number"], row["hardware_ids"]) == ("SN-d3", "SN-d3", ["hw-d3"])
    assert (row["cohort_id"], row["golioth_status"], row["firmware_version"]) == (
        "cohort1",
        "enabled",
        "1.2.3",
    )
    assert (row["status"], row["battery_level"]) == ("online", 77)
    assert row["last_seen_online"] == START + timedelta(seconds=50)
    assert row["last_seen_offline"] == START - timedelta(seconds=60)
    assert orjson.loads(row["metadata"]) == {"tags": ["field"]}


async def test_a_second_run_finds_nothing_to_change(fleet: Fleet) -> None:
    await fleet.reconcile()
    before = await fleet.everything()
    run = (await fleet.reconcile()).run
    assert (run.status, run.matched, run.unchanged, run.changed, run.created) == ("done", 10, 10, 0, 0)
    after = await fleet.everything()
    untouched = ("devices", "rollcall.device_facts", "rollcall.device_identity", "device_firmware_history")
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
