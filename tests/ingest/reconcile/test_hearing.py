"""Silence of devices that only a provider's listings tell of."""

import time
from datetime import datetime, timedelta

from handlers.events import SECOND
from ingest.reconcile.phases import Options
from ingest.store.commit.silences import Silences
from tests.ingest.reconcile.fleet import EPOCH, Fleet
from tests.servers.http import Fault

AFTER = 600 * SECOND


def ago(seconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=time.time_ns() // 1_000 - seconds * SECOND)


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


async def test_a_device_whose_last_report_is_long_past_is_never_shown_online(fleet: Fleet):
    reported = ago(2_000)
    fleet.cloud.add("g1", lastReport=text(reported))
    await fleet.reconcile()
    for _ in range(2):  # the second listing says what the first one said
        row = await fleet.row("g1")
        assert (row["status"], row["last_seen_offline"]) == ("offline", reported + timedelta(seconds=900))
        await fleet.reconcile()
    events = (
        "select kind, at from rollcall.device_events where subject = $1 and kind in ('online', 'offline')"
    )
    assert [tuple(one) for one in await fleet.pool.fetch(events, row["id"])] == [
        ("offline", reported + timedelta(seconds=900))
    ]


async def test_a_device_that_goes_on_not_reporting_falls_silent_with_the_listing_that_shows_it(fleet: Fleet):
    reported = ago(1_000)
    fleet.cloud.add("g1", lastReport=text(reported))
    await fleet.reconcile()
    assert (await fleet.row("g1"))["status"] == "online", "the provider may lag by 300 s"
    await fleet.reconciler(provider_lag_s=10).reconcile(fleet.integration, Options())
    row = await fleet.row("g1")
    assert (row["status"], row["last_seen_offline"]) == ("offline", reported + timedelta(seconds=900))


async def test_a_listing_that_ended_early_proves_no_silence(fleet: Fleet):
    def break_off(page: int) -> None:
        if page == 3:
            fleet.cloud.http.always = Fault("status", 500)

    fleet.cloud.before_page = break_off
    run = (await fleet.reconcile()).run
    assert (run.status, run.created) == ("incomplete", 6)
    assert await fleet.pool.fetchval("select count(*) from devices where status = 'offline'") == 0


async def test_unlisted_devices_are_silent_once_the_provider_was_heard_for_long_enough(fleet: Fleet):
    now = time.time_ns() // 1_000
    reported = ago(2_000)
    silences = Silences(fleet.pool)
    await fleet.reconcile()
    await fleet.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type, status,"
        " last_seen)"
        " select organization_id, id, 'w1', 'w1', 'x', 'online', $1 from device_integrations",
        reported,
    )
    assert await silences.sweep(AFTER, now) == 0, "nobody has listened for long enough"
    await fleet.pool.execute(
        "update rollcall.mqtt_sessions set heard_since = heard_since - $1", 3_600 * SECOND
    )
    await fleet.reconcile()
    assert await silences.sweep(AFTER, now + 3_600 * SECOND) == 0, "the provider has not been heard of lately"
    assert await silences.sweep(AFTER, now) == 1
    row = await fleet.pool.fetchrow("select status, last_seen_offline from devices where name = 'w1'")
    assert tuple(row) == ("offline", reported + timedelta(microseconds=AFTER))
