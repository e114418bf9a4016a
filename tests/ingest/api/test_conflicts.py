"""Conflicts: who wins is written, told to the provider, and respected by what comes later."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson
import pytest

from handlers.events import DeviceKey, Facts, Observation
from ingest.providers.port import DeviceChanges, ListedDevice
from ingest.store.commit.sessions import Sessions
from tests.ingest.api.world import Organization, World
from tests.servers.http import Fault

NOW = 1_790_000_000_000_000


async def listed(world: World, made: Organization, at: int, **facts: Any) -> None:
    said = Observation(made.integration, DeviceKey("acme-1"), at, at, at, "reconcile", facts=Facts(**facts))
    await world.apply([said], "reconcile")


async def opened(world: World, made: Organization, field: str, local: Any, remote: Any) -> str:
    """Let reconciliation find a conflict, and return its id."""
    column = field.partition(".")
    if column[1]:
        form = orjson.dumps({column[2]: local}).decode()
        await world.pool.execute("update devices set metadata = $2::jsonb where id = $1", made.device, form)
        await listed(world, made, NOW, metadata={column[2]: remote})
    else:
        await world.pool.execute(f"update devices set {field} = $2 where id = $1", made.device, local)
        await listed(world, made, NOW, **{field: tuple(remote) if isinstance(remote, list) else remote})
    query = "/api/sync/conflicts?deviceId=" + str(made.device)
    found = (await world.get(query, made.tokens["read"])).json()["conflicts"]
    (conflict,) = [one for one in found if one["fieldName"] == field]
    assert (conflict["localValue"], conflict["remoteValue"]) == (local, remote)
    return str(conflict["id"])


async def resolve(world: World, made: Organization, conflict: object, **body: Any) -> Any:
    return await world.post(f"/api/sync/conflicts/{conflict}/resolve", made.tokens["operate"], body)


@pytest.fixture
async def acme(world: World) -> Organization:
    world.cloud.add("acme-1")
    made = await world.organization("acme")
    await world.pool.execute("delete from sync_conflicts")
    return made


async def row(world: World, made: Organization) -> Any:
    return (await world.get(f"/api/devices/{made.device}", made.tokens["read"])).json()


async def open_ones(world: World, made: Organization) -> int:
    return int((await world.get("/api/sync/conflicts", made.tokens["read"])).json()["total"])


async def test_when_the_row_wins_the_provider_is_told_and_stale_listings_change_nothing(
    world: World, acme: Organization
) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["mine"], ["theirs"])
    answer = await resolve(world, acme, conflict, resolution="local", notes="ours is right")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert world.cloud.devices["acme-1"]["hardwareIds"] == ["mine"]
    await listed(world, acme, NOW + 1, hardware_ids=("theirs",))
    assert (await row(world, acme))["hardwareIds"] == ["mine"]
    assert await open_ones(world, acme) == 0
    resolved = (await world.get("/api/sync/conflicts?state=resolved", acme.tokens["read"])).json()[
        "conflicts"
    ]
    assert (resolved[0]["resolutionStrategy"], resolved[0]["resolutionNotes"]) == (
        "prefer_local",
        "ours is right",
    )
    assert resolved[0]["resolvedBy"] is not None


async def test_when_the_provider_wins_the_row_follows_and_both_agree(
    world: World, acme: Organization
) -> None:
    conflict = await opened(world, acme, "cohort_id", "mine", "theirs")
    assert (await resolve(world, acme, conflict, resolution="remote")).status_code == 200
    assert (await row(world, acme))["cohortId"] == "theirs"
    assert world.cloud.http.requests == []
    await listed(world, acme, NOW + 10, cohort_id="newer")
    assert (await row(world, acme))["cohortId"] == "newer"
    assert await open_ones(world, acme) == 0


async def test_what_the_row_is_given_while_the_provider_is_told_that_it_wins_stays(
    world: World, acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["mine"], ["theirs"])
    update_device = world.provider.update_device

    async def slowly(external_id: str, changes: DeviceChanges) -> ListedDevice:
        await world.pool.execute("update devices set hardware_ids = '{newer}' where id = $1", acme.device)
        return await update_device(external_id, changes)

    monkeypatch.setattr(world.provider, "update_device", slowly)
    assert (await resolve(world, acme, conflict, resolution="local")).status_code == 200
    assert world.cloud.devices["acme-1"]["hardwareIds"] == ["mine"]
    assert (await row(world, acme))["hardwareIds"] == ["newer"]


async def test_another_value_goes_to_both(world: World, acme: Organization) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["a"], ["b"])
    await resolve(world, acme, conflict, resolution="custom", customValue=["a", "b"])
    assert (await row(world, acme))["hardwareIds"] == ["a", "b"]
    assert world.cloud.devices["acme-1"]["hardwareIds"] == ["a", "b"]


async def test_a_value_that_the_provider_cannot_hold_stays_here_and_is_no_conflict_again(
    world: World, acme: Organization
) -> None:
    conflict = await opened(world, acme, "metadata.room", "cellar", "roof")
    assert (await resolve(world, acme, conflict, resolution="local")).status_code == 200
    await listed(world, acme, NOW + 10, metadata={"room": "roof"})
    assert (await row(world, acme))["metadata"]["room"] == "cellar"
    assert await open_ones(world, acme) == 0


@pytest.mark.parametrize(
    "field, value",
    [("hardware_ids", "x"), ("hardware_ids", [1]), ("cohort_id", ""), ("cohort_id", "a\0b"), ("cohort_id", "x" * 256),
     ("metadata.room", "x" * 2000), ("metadata.room", "a\0")],
)  # fmt: skip
async def test_a_value_that_does_not_fit_its_field_is_refused(
    field: str, value: Any, world: World, acme: Organization
) -> None:
    conflict = await world.conflict(acme, uuid4(), field, "x", "y")
    answer = await resolve(world, acme, conflict, resolution="custom", customValue=value)
    assert answer.status_code == 422
    assert await open_ones(world, acme) == 1


async def test_a_conflict_is_resolved_once_however_many_try(world: World, acme: Organization) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["mine"], ["theirs"])
    answers = await asyncio.gather(*(resolve(world, acme, conflict, resolution="local") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert [one.method for one in world.cloud.http.requests].count("PATCH") == 1
    assert (await resolve(world, acme, conflict, resolution="remote")).status_code == 409


async def test_who_comes_when_the_first_has_just_ended_tells_the_provider_nothing(
    world: World, acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["mine"], ["theirs"])
    first_ended, second_waits, lease = asyncio.Event(), asyncio.Event(), Sessions.lease

    async def late(self: Sessions, name: str, holder: str, ttl_s: float) -> bool:
        second_waits.set()
        await asyncio.wait_for(first_ended.wait(), 10)
        return await lease(self, name, holder, ttl_s)

    with monkeypatch.context() as patched:
        patched.setattr(Sessions, "lease", late)
        second = asyncio.create_task(resolve(world, acme, conflict, resolution="local"))
        await asyncio.wait_for(second_waits.wait(), 10)
    assert (await resolve(world, acme, conflict, resolution="local")).status_code == 200
    first_ended.set()
    assert (await second).status_code == 409
    assert [one.method for one in world.cloud.http.requests].count("PATCH") == 1


async def test_while_the_provider_is_away_nothing_is_resolved(world: World, acme: Organization) -> None:
    conflict = await opened(world, acme, "hardware_ids", ["mine"], ["theirs"])
    world.cloud.http.always = Fault("status", 503)
    answer = await resolve(world, acme, conflict, resolution="local")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert await open_ones(world, acme) == 1
    world.cloud.http.always = None
    assert (await resolve(world, acme, conflict, resolution="local")).status_code == 200


async def test_a_serial_number_that_another_device_has_is_refused(
    world: World, acme: Organization, other: Organization
) -> None:
    conflict = await world.conflict(acme, uuid4(), "serial_number", "SN-acme-1", "SN-other-1")
    answer = await resolve(world, acme, conflict, resolution="remote")
    assert answer.status_code == 409
    assert await open_ones(world, acme) == 1
