"""The platform's own story, and its old readers beside it."""

import asyncio
from typing import Any

import asyncpg

from handlers.events import DeviceKey, Observation, Presence
from tests.ingest.api.world import Organization, World
from tests.providers.worlds import HASTY
from tests.servers.http import Fault
from tests.waiting import until

OLD = [
    "id", "organization_id", "integration_id", "external_device_id", "name", "device_type", "model",
    "serial_number", "status", "last_seen", "battery_level", "signal_strength", "firmware_version",
    "location_id", "department_id", "metadata", "created_at", "updated_at",
]  # fmt: skip
OLD_READER = "select * from devices order by id"
NEWER_READER = (
    "select *, last_seen_online, hardware_ids, cohort_id from devices where last_seen_online is not null"
    " order by id"
)


async def test_the_platforms_own_story(world: World, acme: Organization) -> None:
    device = world.cloud.add("acme-1")
    device["metadata"]["update"]["main"]["version"] = "v2.3.1"
    token = acme.tokens["all"]

    status = (await world.get(f"/api/devices/{acme.device}/status", token)).json()
    assert status["device"]["name"] == "Temperature Sensor 1"
    assert (status["live"], status["liveError"]) == (True, None)
    assert status["connection"]["lastSeenOnline"] == "2026-01-01T00:00:50Z"
    assert status["firmware"]["version"] == "v2.3.1"
    assert status["telemetry"]["batteryLevel"] == 77
    assert status["integration"]["type"] == "golioth"
    assert status["integration"]["capabilities"]["supportsRealTimeStatus"] is True

    async def noted() -> bool:
        return bool(
            await world.pool.fetchval("select last_seen_online from devices where id = $1", acme.device)
        )

    await until(noted, 10, "the live answer's last report reaches the row")
    assert {one.source for one in world.observed} == {"api"}

    synced = (
        await world.post(f"/api/integrations/{acme.integration}/sync", token, {"fullSync": True})
    ).json()
    assert set(synced) == {
        "devicesProcessed", "devicesCreated", "devicesUpdated", "devicesDeleted", "errors", "duration",
    }  # fmt: skip
    assert world.syncs == [(acme.integration, True, False)]
    row = (await world.get(f"/api/devices/{acme.device}", token)).json()
    assert (row["hardwareIds"], row["cohortId"]) == (["hw-acme-1"], "cohort1")
    history = (await world.get(f"/api/devices/{acme.device}/firmware", token)).json()["history"]
    assert [(one["version"], one["component"]) for one in history] == [("v2.3.1", "main")]
    kinds = [
        one["kind"]
        for one in (await world.get(f"/api/devices/{acme.device}/timeline", token)).json()["events"]
    ]
    assert {"online", "firmware"} <= set(kinds)


async def test_old_readers_see_what_they_saw_while_everything_runs(
    world: World, acme: Organization, database: str
) -> None:
    world.cloud.add("acme-1")
    reading = asyncio.create_task(_read_on(database))
    for _ in range(5):
        await world.get(f"/api/devices/{acme.device}/status", acme.tokens["all"])
        await world.post(f"/api/integrations/{acme.integration}/sync", acme.tokens["all"], {})
        path = f"/api/sync/conflicts/{acme.conflict}/resolve"
        await world.post(path, acme.tokens["all"], {"resolution": "local"})
    assert not reading.done(), reading.exception()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    rows = await world.pool.fetch(NEWER_READER)
    assert [(row["name"], row["hardware_ids"], row["cohort_id"]) for row in rows] == [
        ("Temperature Sensor 1", ["hw-acme-1"], "cohort1")
    ]


async def _read_on(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        while True:
            for row in await connection.fetch(OLD_READER):
                old: dict[str, Any] = {name: row[name] for name in OLD}
                assert old["name"] == "Temperature Sensor 1"
                assert old["status"] in ("online", "offline")
            await connection.fetch(NEWER_READER)
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def test_a_provider_that_is_away_leaves_the_row_and_says_why(world: World, acme: Organization) -> None:
    world.cloud.http.always = Fault("silent")
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(
        *(world.get(f"/api/devices/{acme.device}/status", acme.tokens["read"]) for _ in range(10))
    )
    assert asyncio.get_running_loop().time() - started < 4
    for answer in answers:
        status = answer.json()
        assert answer.status_code == 200
        assert status["live"] is False
        assert "did not answer" in status["liveError"]
        assert status["device"]["name"] == "Temperature Sensor 1"
    assert len(world.cloud.http.requests) <= 1 + HASTY.retries


async def test_a_dashboard_asks_the_provider_once_a_device(world: World, acme: Organization) -> None:
    world.cloud.add("acme-1")
    path = f"/api/devices/{acme.device}/status"
    answers = await asyncio.gather(*(world.get(path, acme.tokens["read"]) for _ in range(50)))
    assert all(answer.json()["live"] for answer in answers)
    asked = [one for one in world.cloud.http.requests if one.path.endswith("/devices/acme-1")]
    assert len(asked) == 1


async def test_what_the_row_knows_already_is_no_observation(world: World, acme: Organization) -> None:
    world.cloud.add("acme-1")
    later = 1_800_000_000_000_000
    said = Observation(
        acme.integration, DeviceKey("acme-1"), later, later, later, presence=Presence.ONLINE, battery_level=50
    )
    await world.apply([said, said._replace(seen_at=later + 1, presence=Presence.OFFLINE)], "mqtt")
    status = (await world.get(f"/api/devices/{acme.device}/status", acme.tokens["read"])).json()
    assert status["live"] is True
    assert status["telemetry"]["batteryLevel"] == 50
    assert world.observed == []


async def test_a_device_without_an_integration_has_a_status_too(world: World, acme: Organization) -> None:
    await world.pool.execute("update devices set integration_id = null where id = $1", acme.device)
    status = (await world.get(f"/api/devices/{acme.device}/status", acme.tokens["read"])).json()
    assert (status["live"], status["integration"], status["connectionState"]) == (False, None, "unknown")


async def test_an_answer_that_did_not_change_is_not_sent_again(world: World, acme: Organization) -> None:
    path, token = f"/api/devices/{acme.device}", acme.tokens["read"]
    first = await world.get(path, token)
    again = await world.get(path, token, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await world.pool.execute("update devices set battery_level = 5 where id = $1", acme.device)
    changed = await world.get(path, token, headers={"if-none-match": first.headers["etag"]})
    assert changed.json()["batteryLevel"] == 5
