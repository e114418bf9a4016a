"""Silence of devices that only a provider's listings tell of."""

import time
from datetime import timedelta

from handlers.events import SECOND
from ingest.store.silences import Silences
from tests.ingest.reconcile.fleet import EPOCH, Fleet

AFTER = 600 * SECOND


async def test_a_device_that_stopped_reporting_is_silent_once_it_was_listed_for_long_enough(fleet: Fleet):
    now = time.time_ns() // 1_000
    reported = EPOCH + timedelta(microseconds=now - 2_000 * SECOND)
    fleet.cloud.add("g1", lastReport=reported.isoformat().replace("+00:00", "Z"))
    silences = Silences(fleet.pool)
    await fleet.reconcile()
    assert (await fleet.row("g1"))["status"] == "online"
    assert await silences.sweep(AFTER, now) == 0, "nobody has listened for long enough"
    await fleet.pool.execute(
        "update rollcall.mqtt_sessions set heard_since = heard_since - $1", 3_600 * SECOND
    )
    await fleet.reconcile()
    assert await silences.sweep(AFTER, now + 3_600 * SECOND) == 0, "the provider has not been heard of lately"
    assert await silences.sweep(AFTER, now) >= 1
    row = await fleet.row("g1")
    assert (row["status"], row["last_seen_offline"]) == ("offline", reported + timedelta(microseconds=AFTER))
