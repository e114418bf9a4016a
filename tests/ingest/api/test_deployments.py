"""Firmware: asked of the provider, one at a time, and followed until the device reports it or it is late."""

import asyncio
import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from handlers.events import DeviceKey, Observation
from ingest.jobs.deployments import Deployments
from ingest.jobs.schedule import LeasedSchedule
from ingest.store.commit.sessions import Sessions
from ingest.store.people.artifacts import sync_artifacts
from ingest.store.people.deployments import Progress
from tests.ingest.api.world import Organization, World
from tests.servers.http import Fault
from tests.waiting import until


@pytest.fixture
async def acme(world: World) -> Organization:
    world.cloud.add("acme-1")
    world.cloud.cohorts = {"cohort1": {"cohortId": "cohort1", "name": "all", "deviceCount": 1}}
    for number, version in enumerate(["1.2.3", "1.3.0", "1.10.0"], start=1):
        image = {"id": f"a{number}", "package": "main", "version": version, "size": "1024"}
        world.cloud.artifacts[f"a{number}"] = image
    return await world.organization("acme")


async def deploy(world: World, made: Organization, **body: Any) -> Any:
    path = f"/api/devices/{made.device}/deploy-firmware"
    headers = body.pop("headers", {})
    body = {"artifactId": str(made.artifact), **body}
    return await world.post(path, made.tokens["operate"], body, headers=headers)


async def newest(world: World, made: Organization) -> Any:
    path = f"/api/devices/{made.device}/deployments"
    return (await world.get(path, made.tokens["read"])).json()["deployments"][0]


async def status(world: World, made: Organization) -> Any:
    return (await world.get(f"/api/devices/{made.device}/status", made.tokens["read"])).json()["firmware"]


def part(world: World, every_s: float = 10.0) -> Deployments:
    schedule = LeasedSchedule(
        Sessions(world.pool), "deployments", "me", random.Random(1), every_s, every_s * 6
    )
    return Deployments(Progress(world.pool), world.providers, schedule)


async def reported(world: World, made: Organization, version: str, at: int) -> None:
    said = Observation(made.integration, DeviceKey("acme-1"), at, at, at, firmware=(("main", version),))
    await world.apply([said], "mqtt")


async def test_a_deployment_succeeds_when_the_device_reports_the_version(
    world: World, acme: Organization
) -> None:
    await reported(world, acme, "1.2.3", world.clock() - 60_000_000)
    made = await deploy(world, acme)
    assert made.status_code == 202, made.text
    assert (made.json()["status"], made.json()["version"], made.json()["cohortId"]) == (
        "queued",
        "1.3.0",
        "cohort1",
    )
    assert len(world.cloud.deployments) == 1
    assert (await status(world, acme))["updateInProgress"] is True
    await part(world).look()
    assert (await newest(world, acme))["status"] == "queued"
    await reported(world, acme, "1.3.0", world.clock())
    await part(world).look()
    assert (await newest(world, acme))["status"] == "succeeded"
    history = (await world.get(f"/api/devices/{acme.device}/firmware", acme.tokens["read"])).json()["history"]
    assert [(one["version"], one["source"]) for one in history] == [
        ("1.3.0", "ota_update"), ("1.2.3", "factory_default"),
    ]  # fmt: skip
    await reported(world, acme, "1.3.0", world.clock())
    sources = await world.pool.fetch("select source from device_firmware_history order by installed_at")
    assert [row["source"] for row in sources] == ["factory_default", "ota_update"]


async def test_a_slow_clock_does_not_hide_that_it_was_an_update(world: World, acme: Organization) -> None:
    hour = 3_600_000_000
    await reported(world, acme, "1.2.3", world.clock() - 2 * hour)
    await deploy(world, acme)
    await reported(world, acme, "1.3.0", world.clock() - hour)
    await part(world).look()
    assert (await newest(world, acme))["status"] == "succeeded"
    newest_source = await world.pool.fetchval(
        "select source from device_firmware_history where firmware_version = '1.3.0'"
    )
    assert newest_source == "ota_update"


async def test_to_others_of_the_cohort_it_was_an_update_too(world: World, acme: Organization) -> None:
    world.cloud.add("acme-2")
    await world.pool.execute(
        """insert into devices (organization_id, integration_id, external_device_id, name, device_type, cohort_id)
        values ($1, $2, 'acme-2', 'two', 'x', 'cohort1'), ($1, $2, 'acme-3', 'three', 'x', 'cohort2')""",
        acme.id,
        acme.integration,
    )
    assert (await deploy(world, acme, allowCohort=True)).status_code == 202
    at = world.clock()
    for name in ("acme-2", "acme-3"):
        said = Observation(acme.integration, DeviceKey(name), at, at, at, firmware=(("main", "1.3.0"),))
        await world.apply([said], "mqtt")
    sources = await world.pool.fetch(
        "select d.name, h.source from device_firmware_history h join devices d on d.id = h.device_id order by d.name"
    )
    assert [tuple(row) for row in sources] == [("three", "factory_default"), ("two", "ota_update")]


async def test_two_at_once_are_refused_and_the_provider_is_asked_once(
    world: World, acme: Organization
) -> None:
    answers = await asyncio.gather(*(deploy(world, acme) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert len(world.cloud.deployments) == 1


async def test_one_key_deploys_once(world: World, acme: Organization) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await deploy(world, acme, headers=headers)
    again = await deploy(world, acme, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await deploy(world, acme, headers=headers, allowCohort=True)
    assert other.status_code == 422
    assert len(world.cloud.deployments) == 1


async def test_a_cohort_of_others_is_updated_only_when_that_is_said(world: World, acme: Organization) -> None:
    world.cloud.add("stranger")
    refused = await deploy(world, acme)
    assert refused.status_code == 409
    assert "2 devices" in refused.json()["detail"]
    assert (await newest(world, acme))["status"] == "failed"
    made = await deploy(world, acme, allowCohort=True)
    assert (made.status_code, made.json()["cohortSize"]) == (202, 2)


async def test_a_deployment_that_is_late_has_failed(world: World, acme: Organization) -> None:
    await deploy(world, acme)
    await world.pool.execute("update rollcall.deployments set deadline_at = now()")
    await part(world).look()
    late = await newest(world, acme)
    assert (late["status"], late["finishedAt"] is not None) == ("failed", True)
    assert (await deploy(world, acme)).status_code == 202


async def test_one_that_no_provider_was_given_does_not_block_for_ever(
    world: World, acme: Organization
) -> None:
    await deploy(world, acme)
    await world.pool.execute(
        "update rollcall.deployments set provider_id = null, queued_at = queued_at - interval '1 hour'"
    )
    await part(world).look()
    assert (await newest(world, acme))["status"] == "failed"


async def test_it_goes_on_after_a_restart_and_in_one_replica(world: World, acme: Organization) -> None:
    await deploy(world, acme)
    await reported(world, acme, "1.3.0", world.clock())
    replicas = [asyncio.create_task(part(world, every_s=0.05).run()) for _ in range(2)]
    try:

        async def done() -> bool:
            return bool((await newest(world, acme))["status"] == "succeeded")

        await until(done, 10, "the deployment succeeds")
        assert (
            await world.pool.fetchval("select count(*) from rollcall.leases where name = 'deployments'") == 1
        )
    finally:
        for replica in replicas:
            replica.cancel()
        await asyncio.gather(*replicas, return_exceptions=True)
    ended = "select detail ->> 'status' from rollcall.device_events where kind = 'deployment' order by at"
    assert [row[0] for row in await world.pool.fetch(ended)] == ["queued", "succeeded"]


async def test_one_that_the_provider_gives_to_a_cohort_that_is_being_updated_is_followed_all_the_same(
    world: World, acme: Organization
) -> None:
    assert (await deploy(world, acme)).status_code == 202
    world.cloud.add("acme-2")
    second = await world.pool.fetchval(
        """insert into devices (organization_id, integration_id, external_device_id, name, device_type)
        values ($1, $2, 'acme-2', 'two', 'x') returning id""",
        acme.id,
        acme.integration,
    )
    answer = await deploy(world, replace(acme, device=second), allowCohort=True)
    assert answer.status_code == 202, answer.text
    followed = {one.external_id for one in await Progress(world.pool).pending(10)}
    assert followed == {"acme-1", "acme-2"}


async def test_a_device_that_the_provider_does_not_know_keeps_no_other_from_being_asked_about(
    world: World, acme: Organization
) -> None:
    await world.pool.execute(
        """with d as (insert into devices (organization_id, integration_id, name, device_type)
            values ($1, $2, 'nowhere', 'x'), ($1, $2, 'bound', 'x') returning id, name),
        i as (insert into rollcall.device_identity (integration_id, external_device_id, device_id)
            select $2, name, id from d where name = 'bound')
        insert into rollcall.deployments (organization_id, id, device_id, integration_id, artifact_id, component,
            version, requested_by, deadline_at, provider_id)
        select $1, case name when 'bound' then $4::uuid else $5::uuid end, id, $2, $3, 'main', '2', 'me',
            now() + interval '1 day', 'p'
        from d""",
        acme.id,
        acme.integration,
        acme.artifact,
        UUID(int=2),
        UUID(int=1),
    )
    assert [one.external_id for one in await Progress(world.pool).pending(1)] == ["bound"]


async def test_while_the_provider_is_away_the_deployment_has_failed_and_says_why(
    world: World, acme: Organization
) -> None:
    world.cloud.http.always = Fault("status", 503)
    assert (await deploy(world, acme)).status_code == 503
    failed = await newest(world, acme)
    assert (failed["status"], failed["detail"] != "") == ("failed", True)


async def test_an_artifact_of_another_integration_or_none_is_refused(
    world: World, acme: Organization, other: Organization
) -> None:
    for artifact in (other.artifact, acme.device):
        assert (await deploy(world, acme, artifactId=str(artifact))).status_code == 422
    assert world.cloud.http.requests == []


async def test_images_are_synchronised_and_a_later_one_is_an_update(world: World, acme: Organization) -> None:
    await world.pool.execute("delete from firmware_artifacts")
    assert await sync_artifacts(world.pool, acme.integration, world.provider) == 3
    assert await sync_artifacts(world.pool, acme.integration, world.provider) == 3
    listed = (await world.get("/api/firmware/artifacts", acme.tokens["read"])).json()["artifacts"]
    assert sorted(one["version"] for one in listed) == ["1.10.0", "1.2.3", "1.3.0"]
    await reported(world, acme, "1.9.0", world.clock())
    assert (await status(world, acme))["updateAvailable"] is True
    await reported(world, acme, "1.10.0", world.clock())
    assert (await status(world, acme))["updateAvailable"] is False


async def test_without_semantic_versions_the_release_date_decides(world: World, acme: Organization) -> None:
    await world.pool.execute("delete from firmware_artifacts")
    await world.pool.execute(
        """insert into firmware_artifacts (organization_id, integration_id, external_artifact_id, package_name, version,
            release_date)
        values ($1, $2, 'x', 'main', 'zebra', '2026-01-01Z'), ($1, $2, 'y', 'main', 'ape', '2026-02-01Z')""",
        acme.id,
        acme.integration,
    )
    await reported(world, acme, "zebra", world.clock())
    assert (await status(world, acme))["updateAvailable"] is True
    await reported(world, acme, "ape", world.clock())
    assert (await status(world, acme))["updateAvailable"] is False
