"""Conformance of every provider, whichever cloud it asks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from handlers.events import SECOND
from ingest.egress.gate import Egress
from ingest.egress.networks import parsed
from ingest.errors import (
    Declined,
    NotFound,
    NotSupported,
    ProviderAway,
    ProviderRefused,
    ProviderThrottled,
    RollcallError,
)
from ingest.providers.factory import create_provider
from ingest.providers.port import Artifact, DeviceChanges, ListedDevice, Page, Provider
from tests.providers.worlds import HASTY, IDS, World
from tests.servers.http import Fault, HttpServer, Request, Response

ARTIFACT = Artifact("a2", "main", "1.2.0")
NEWEST_KNOWN = 1_767_225_700 * SECOND
"""2026-01-01T00:01:40Z: all times that the clouds of these tests tell are before it."""
WITHIN_S = 10.0
ASKED: dict[str, Callable[[Provider], Awaitable[object]]] = {
    "test_connection": lambda provider: provider.test_connection(),
    "list_devices": lambda provider: listing(provider),
    "get_device": lambda provider: provider.get_device("d1"),
    "get_device_status": lambda provider: provider.get_device_status("d1"),
    "update_device": lambda provider: provider.update_device("d1", DeviceChanges(tags=("x",))),
    "deploy_firmware": lambda provider: provider.deploy_firmware("d1", ARTIFACT, allow_cohort=True),
}
REPEATED = [name for name in ASKED if name != "deploy_firmware"]


async def listing(provider: Provider, after: str | None = None) -> list[Page]:
    async with asyncio.timeout(WITHIN_S):
        return [page async for page in provider.list_devices(after)]


def ids(pages: list[Page]) -> list[str]:
    return [one.external_id for page in pages for one in page.devices]


def server(world: World) -> HttpServer:
    assert world.http is not None
    return world.http


async def test_the_connection_can_be_tested(world: World) -> None:
    assert (await world.provider.test_connection()).detail


async def test_a_listing_has_every_device_once(world: World) -> None:
    pages = await listing(world.provider)
    assert sorted(ids(pages)) == IDS
    assert pages[-1].cursor is None
    assert all(page.cursor for page in pages[:-1])
    assert not any(page.problems for page in pages)


async def test_a_listed_device_names_itself_and_its_firmware(world: World) -> None:
    device = next(
        one for page in await listing(world.provider) for one in page.devices if one.external_id == "d2"
    )
    assert (device.serial_number, device.hardware_ids, device.tags) == ("SN-d2", ("hw-d2",), ("field",))
    assert [(one.component, one.version) for one in device.firmware] == [("main", "1.2.3")]
    assert device.problems == ()


async def test_a_listing_resumes_after_a_page(cloud: World) -> None:
    first = await anext(cloud.provider.list_devices())
    assert first.cursor is not None
    other = create_provider(cloud.settings, limits=HASTY)
    rest = await listing(other, first.cursor)
    await other.aclose()
    assert sorted(ids([first, *rest])) == IDS


async def test_a_cursor_that_the_provider_does_not_know_is_declined(cloud: World) -> None:
    with pytest.raises(Declined):
        await listing(cloud.provider, "no/cursor")


async def test_a_device_that_goes_between_two_pages_hides_no_other(world: World) -> None:
    world.before_page(lambda number: world.remove("d1") if number == 2 else None)
    assert set(IDS[1:]) <= set(ids(await listing(world.provider)))


async def test_a_device_that_comes_between_two_pages_doubles_and_hides_no_other(world: World) -> None:
    world.before_page(lambda number: world.insert_first("d0") if number == 2 else None)
    found = ids(await listing(world.provider))
    assert len(found) == len(set(found))
    assert set(IDS) <= set(found)


async def test_a_listing_that_changes_with_every_page_ends(world: World) -> None:
    world.before_page(lambda number: world.insert_first(f"c{number}") if number < 50 else None)
    found = ids(await listing(world.provider))
    assert set(IDS) <= set(found)
    assert len(found) == len(set(found))


async def test_a_device_that_stands_on_two_pages_is_listed_once(cloud: World) -> None:
    cloud.overlap()
    found = ids(await listing(cloud.provider))
    assert len(found) == len(set(found))
    assert set(IDS) <= set(found)


async def test_a_listing_is_no_evidence_of_being_online_now(world: World) -> None:
    for page in await listing(world.provider):
        for device in page.devices:
            times = (
                device.online_at,
                device.offline_at,
                device.connected_at,
                device.battery_at,
                device.updated_at,
            )
            assert all(at is None or at < NEWEST_KNOWN for at in times)
            assert all(one.at is None or one.at < NEWEST_KNOWN for one in device.firmware)


async def test_a_device_with_one_unusable_field_loses_only_that(cloud: World) -> None:
    cloud.spoil("d3")
    pages = await listing(cloud.provider)
    assert sorted(ids(pages)) == IDS
    device = next(one for page in pages for one in page.devices if one.external_id == "d3")
    assert device.hardware_ids == ()
    assert device.serial_number == "SN-d3"
    assert ["NUL" in problem.error for problem in device.problems] == [True]


async def test_a_device_is_got_as_it_is_listed(world: World) -> None:
    listed = {one.external_id: one for page in await listing(world.provider) for one in page.devices}
    assert await world.provider.get_device("d4") == listed["d4"]


@pytest.mark.parametrize("external_id", ["unknown", "..", "", "a/b", "a?b#c"])
async def test_what_the_provider_does_not_know_is_not_found(world: World, external_id: str) -> None:
    with pytest.raises(Declined):
        await world.provider.get_device(external_id)


async def test_nothing_happens_to_a_device_that_is_not_found(world: World) -> None:
    with pytest.raises((NotFound, NotSupported)):
        await world.provider.update_device("unknown", DeviceChanges(tags=("x",)))
    with pytest.raises(NotFound):
        await world.provider.deploy_firmware("unknown", ARTIFACT)


async def test_a_status_is_the_device_as_it_is_now_or_refused(world: World) -> None:
    if not world.provider.capabilities.supports_real_time_status:
        with pytest.raises(NotSupported):
            await world.provider.get_device_status("d1")
        return
    status = await world.provider.get_device_status("d1")
    assert status.device.external_id == "d1"
    assert status.device.online_at is not None
    assert (status.device.connected is not None) == world.provider.capabilities.reports_connection_state
    with pytest.raises(NotFound):
        await world.provider.get_device_status("unknown")


async def test_an_update_is_there_when_the_device_is_read_again(world: World) -> None:
    changes = DeviceChanges(tags=("a", "b"), hardware_ids=("hw-1",))
    if not world.provider.capabilities.supports_update:
        with pytest.raises(NotSupported):
            await world.provider.update_device("d1", changes)
        return
    answered = await world.provider.update_device("d1", changes)
    read = await world.provider.get_device("d1")
    assert answered == read
    assert (read.tags, read.hardware_ids, read.serial_number) == (("a", "b"), ("hw-1",), "SN-d1")


async def test_an_update_of_nothing_changes_nothing(cloud: World) -> None:
    before = await cloud.provider.get_device("d1")
    assert await cloud.provider.update_device("d1", DeviceChanges()) == before


async def test_a_field_that_cannot_be_written_is_refused_by_name(world: World) -> None:
    every = DeviceChanges("n", ("t",), ("h",), "cohort1", True, {"k": "v"})
    for name in every.given() - world.provider.capabilities.updatable:
        changes = DeviceChanges(**{name: getattr(every, name)})
        with pytest.raises(NotSupported) as raised:
            await world.provider.update_device("d1", changes)
        assert name in str(raised.value) or not world.provider.capabilities.supports_update


async def test_a_deployment_says_what_was_queued_for_whom(world: World) -> None:
    deployment = await world.provider.deploy_firmware("d1", ARTIFACT, allow_cohort=True)
    assert deployment.deployment_id
    assert (deployment.status, deployment.artifact_id, deployment.version) == ("queued", "a2", "1.2.0")
    assert deployment.component == "main"
    assert (deployment.cohort_id is not None) == world.provider.capabilities.deploys_to_cohort


async def test_the_progress_of_a_deployment_is_known_or_refused(world: World) -> None:
    deployment = await world.provider.deploy_firmware("d1", ARTIFACT, allow_cohort=True)
    if not world.provider.capabilities.supports_deployment_progress:
        with pytest.raises(NotSupported):
            await world.provider.get_progress("d1", deployment.deployment_id)
        return
    assert (await world.provider.get_progress("d1", deployment.deployment_id)).status == "queued"
    with pytest.raises(NotFound):
        await world.provider.get_progress("d1", "unknown")


async def test_artifacts_are_listed_or_refused(world: World) -> None:
    async def listed() -> list[Artifact]:
        return [one async for one in world.provider.list_artifacts()]

    if not world.provider.capabilities.supports_artifacts:
        with pytest.raises(NotSupported):
            await listed()
        return
    assert [(one.package, one.version) for one in await listed()] == [("main", f"1.{n}.0") for n in (1, 2, 3)]


async def test_credentials_are_listed_or_refused(world: World) -> None:
    if not world.provider.capabilities.supports_credentials:
        with pytest.raises(NotSupported):
            await world.provider.list_credentials("d1")
        return
    with pytest.raises(NotFound):
        await world.provider.list_credentials("unknown")


@pytest.mark.parametrize("asked", ASKED)
async def test_a_refused_key_is_for_a_person_and_not_asked_again(cloud: World, asked: str) -> None:
    server(cloud).always = cloud.fault(401)
    with pytest.raises(ProviderRefused, match=r"401.*check the integration's key"):
        await ASKED[asked](cloud.provider)
    assert len(server(cloud).requests) == 1


@pytest.mark.parametrize("asked", ASKED)
async def test_a_throttle_that_passes_is_waited_for(cloud: World, asked: str) -> None:
    server(cloud).fail(cloud.fault(429, {"retry-after": "0"}), cloud.fault(429))
    await ASKED[asked](cloud.provider)


async def test_a_throttle_that_stays_says_how_long(cloud: World) -> None:
    server(cloud).always = cloud.fault(429, {"retry-after": "30"})
    with pytest.raises(ProviderThrottled) as raised:
        await listing(cloud.provider)
    assert raised.value.retry_after_s == 30
    assert len(server(cloud).requests) == 1 + HASTY.retries


FAULTS = [
    Fault("status", 500, {}),
    Fault("cut"),
    Fault("garbled"),
    Fault("closed"),
    Fault("silent"),
    Fault("slow"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
@pytest.mark.parametrize("asked", REPEATED)
async def test_a_failure_that_passes_is_not_seen(cloud: World, asked: str, fault: Fault) -> None:
    server(cloud).fail(fault)
    await ASKED[asked](cloud.provider)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
async def test_a_failure_that_stays_is_told_in_bounded_time(cloud: World, fault: Fault) -> None:
    server(cloud).always = fault
    began = time.monotonic()
    with pytest.raises(ProviderAway):
        await listing(cloud.provider)
    assert len(server(cloud).requests) == 1 + HASTY.retries
    assert time.monotonic() - began < (1 + HASTY.retries) * (HASTY.request_s + HASTY.backoff_cap_s) + 1


async def test_a_failure_between_pages_keeps_the_pages_before_it(cloud: World) -> None:
    pages = cloud.provider.list_devices()
    first = await anext(pages)
    server(cloud).always = Fault("cut")
    with pytest.raises(ProviderAway):
        await anext(pages)
    server(cloud).always = None
    rest = await listing(cloud.provider, first.cursor)
    assert sorted(ids([first, *rest])) == IDS


async def test_a_deployment_whose_answer_is_lost_is_not_made_twice(cloud: World) -> None:
    server(cloud).fail_write = Fault("cut")
    with contextlib.suppress(ProviderAway):
        await cloud.provider.deploy_firmware("d1", ARTIFACT, allow_cohort=True)
    assert server(cloud).fail_write is None
    assert cloud.deployments() == 1


@pytest.mark.parametrize("asked", [*ASKED, "get_progress"])
async def test_no_secret_is_in_an_error_a_repr_or_a_log(
    cloud: World, asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = [repr(cloud.settings), repr(cloud.provider), str(cloud.provider)]
    asking = {**ASKED, "get_progress": lambda provider: provider.get_progress("d1", "x")}[asked]
    faults = [cloud.fault(401), cloud.fault(429), cloud.fault(500), Fault("cut"), Fault("silent")]
    for fault in faults:
        server(cloud).always = fault
        with pytest.raises(RollcallError) as raised:
            await asking(cloud.provider)
        told += [str(raised.value), repr(raised.value)]
    server(cloud).always = None
    # what the fakes echo is in botocore's own debug log of answers, which is for botocore's developers
    told += [
        one.getMessage() for one in caplog.records if one.levelno > logging.DEBUG or "boto" not in one.name
    ]
    assert cloud.secrets
    for secret in cloud.secrets:
        assert not [text for text in told if secret in text]


async def test_a_listing_that_is_left_early_leaves_nothing_open(world: World) -> None:
    pages = world.provider.list_devices()
    await anext(pages)
    await pages.aclose()  # type: ignore[attr-defined]
    assert isinstance(await world.provider.get_device("d1"), ListedDevice)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("asked", ASKED)
async def test_a_redirect_takes_no_key_and_no_signature_to_another_host(
    cloud: World, asked: str, status: int
) -> None:
    async def answer(_: Request) -> Response:
        return Response(200, {})

    async with HttpServer(answer) as elsewhere:
        server(cloud).always = Fault("status", status, {}, {"location": f"{elsewhere.url}/there"})
        with pytest.raises(Declined, match="redirect, which is not followed: check base_url"):
            await ASKED[asked](cloud.provider)
        assert elsewhere.requests == []
    assert len(server(cloud).requests) == 1


async def test_what_a_host_answers_that_a_tenant_named_is_repeated_to_nobody(cloud: World) -> None:
    egress = Egress(parsed("127.0.0.0/8"))
    provider = create_provider(replace(cloud.settings, egress=egress), limits=HASTY)
    for status in (401, 429, 500):
        server(cloud).always = cloud.fault(status)
        with pytest.raises(RollcallError) as raised:
            await provider.test_connection()
        assert str(status) in str(raised.value)
        assert "no," not in str(raised.value)
    await provider.aclose()


async def test_the_proxy_of_the_environment_is_not_asked(
    cloud: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    provider = create_provider(cloud.settings, limits=HASTY)
    assert (await provider.test_connection()).detail
    await provider.aclose()
