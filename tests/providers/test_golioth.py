"""Golioth: what is its own, against a fake that is checked by its contract."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers.events import SECOND, FieldError
from ingest.errors import Declined, Misconfigured, NotFound, ProviderAway
from ingest.providers.factory import create_provider
from ingest.providers.golioth.device import listed
from ingest.providers.port import Artifact, DeviceChanges, Installed, ListedDevice, Provider
from ingest.providers.settings import ProviderSettings
from tests.providers.worlds import HASTY, SECRET, GoliothWorld, Opened
from tests.servers.contract import ContractViolationError
from tests.servers.golioth import START, Golioth, MadeFleet, device_of
from tests.servers.http import Fault, Request

T0 = int(START.timestamp()) * SECOND


@pytest.fixture
async def world() -> AsyncIterator[GoliothWorld]:
    async with Opened("golioth") as opened:
        yield opened


def read(**changes: Any) -> ListedDevice:
    found = listed({**device_of("d1"), **changes}, {})
    assert isinstance(found, ListedDevice)
    return found


async def ids(provider: Provider) -> list[str]:
    return [one.external_id async for page in provider.list_devices() for one in page.devices]


def test_presence_comes_from_the_newest_time_that_golioth_gives() -> None:
    device = read()
    assert (device.online_at, device.offline_at) == (T0 + 50 * SECOND, T0 - 60 * SECOND)
    assert (device.connected, device.connected_at) == (None, None)


@pytest.mark.parametrize("never", [None, "", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_device_that_was_never_seen_has_no_time_and_no_problem(never: str | None) -> None:
    times = {"lastReport": never, "lastSeenOnline": never, "lastSeenOffline": never}
    device = read(lastReport=never, metadata={"status": "-", **times})
    assert (device.online_at, device.offline_at, device.problems) == (None, None, ())


def test_the_name_is_the_serial_number_unless_it_is_too_long() -> None:
    assert read(name="M260600008").serial_number == "M260600008"
    device = read(name="x" * 101)
    assert (device.name, device.serial_number) == ("x" * 101, None)
    assert [problem.field for problem in device.problems] == ["name as serial number"]


def test_firmware_is_read_per_package_and_has_no_time() -> None:
    update = {
        "main": {"package": "main", "version": "1.2.3", "target": "1.3.0", "state": 1},
        "cellgateway": {"version": "7"},
        "modsensor": {"state": 0},
        "late": "2.0",
    }
    device = read(metadata={"update": update})
    assert device.firmware == (
        Installed("cellgateway", "7"),
        Installed("late", "2.0"),
        Installed("main", "1.2.3"),
    )
    assert device.problems == ()


def test_values_of_the_state_have_no_time() -> None:
    device = read(data={"battery": 40, "rssi": -71})
    assert (device.battery_level, device.battery_at, device.signal_strength, device.signal_at) == (
        40,
        None,
        -71,
        None,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7}, {"hardwareIds": "x"}, {"hardwareIds": [None, 3]}, {"tagIds": {}}, {"cohortId": ["c"]},
        {"lastReport": "yesterday"}, {"lastReport": "1999-01-01T00:00:00Z"}, {"updatedAt": 10**30},
        {"metadata": {"update": {"main": {"version": 3.5}}}}, {"metadata": {"update": {"version": {"version": "1"}}}},
        {"name": "a\ud800"}, {"blueprintId": "b\0"}, {"data": {"battery": 400}}, {"data": {"rssi": "loud"}},
        {"hardwareIds": [f"hw{n}" for n in range(33)]}, {"tagIds": ["x" * 256]},
    ],
)  # fmt: skip
def test_what_does_not_fit_a_column_costs_that_field_and_is_told(changes: dict[str, Any]) -> None:
    device = read(**changes)
    assert len(device.problems) >= 1
    (field,) = changes
    others = {
        "name": "SN-d1",
        "cohort_id": "cohort1",
        "updated_at": T0 + 60 * SECOND,
        "golioth_status": "enabled",
    }
    others.pop({"name": "name", "cohortId": "cohort_id", "updatedAt": "updated_at"}.get(field, ""), None)
    assert {key: getattr(device, key) for key in others} == others


@pytest.mark.parametrize("raw", [None, [], {}, {"id": ""}, {"id": 7}, {"id": "x\0"}, {"id": "x" * 256}])
def test_an_entry_without_a_usable_id_is_a_problem(raw: object) -> None:
    assert isinstance(listed(raw, {}), FieldError)


async def test_an_entry_without_a_usable_id_is_told_with_its_page(world: GoliothWorld) -> None:
    world.cloud.devices["d2"]["id"] = "x" * 256
    pages = [page async for page in world.provider.list_devices()]
    assert [[problem.field for problem in page.problems] for page in pages] == [["id"], [], []]
    assert sum(len(page.devices) for page in pages) == 4


async def test_the_filters_of_the_settings_narrow_the_listing(world: GoliothWorld) -> None:
    world.cloud.devices["d2"]["tagIds"] = ["tag1", "field"]
    filters = {"filters": {"tags": ["field", "tag1"], "cohortId": "cohort1"}}
    provider = create_provider(
        ProviderSettings("golioth", "fleet", world.http.url, SECRET, filters), limits=HASTY
    )
    assert await ids(provider) == ["d2"]
    await provider.aclose()


@pytest.mark.parametrize("filters", [["tags"], {"page": 3}, {"tags": "field"}, {"enabled": "true"}])
def test_a_filter_that_golioth_does_not_know_is_refused_at_once(filters: object) -> None:
    with pytest.raises(Misconfigured, match="filters"):
        create_provider(ProviderSettings("golioth", "fleet", None, SECRET, {"filters": filters}))


async def test_a_server_that_counts_pages_from_one_is_listed_whole_and_once(world: GoliothWorld) -> None:
    world.cloud.first_page = 1
    assert sorted(await ids(world.provider)) == ["d1", "d2", "d3", "d4", "d5"]


async def test_many_that_go_at_once_hide_no_other(world: GoliothWorld) -> None:
    for number in range(6, 30):
        world.cloud.add(f"d{number}")
    gone = [f"d{number}" for number in range(1, 12)]
    world.before_page(lambda number: [world.remove(one) for one in gone] if number == 8 else None)
    found = await ids(world.provider)
    assert set(world.cloud.devices) <= set(found)
    assert len(found) == len(set(found))


async def test_what_goes_while_a_listing_waits_to_be_resumed_hides_no_other(world: GoliothWorld) -> None:
    first = await anext(world.provider.list_devices())
    world.remove("d1")
    rest = [
        one.external_id async for page in world.provider.list_devices(first.cursor) for one in page.devices
    ]
    assert {"d3", "d4", "d5"} <= set(rest)


async def test_a_server_that_gives_every_page_alike_is_left(world: GoliothWorld) -> None:
    whole = world.cloud.devices
    world.cloud.first_page = 10**9
    assert len(await ids(world.provider)) == world.cloud.per_page
    assert len(world.http.requests) < 2 + len(whole)


async def test_counts_may_come_as_text(world: GoliothWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Golioth._page

    def as_text(self: Golioth, request: Request, entries: Any) -> Any:
        response = page(self, request, entries)
        return response._replace(
            body={key: str(v) if isinstance(v, int) else v for key, v in response.body.items()}
        )

    monkeypatch.setattr(Golioth, "_page", as_text)
    monkeypatch.setattr(world.cloud.contract, "check_answer", lambda *_: None)
    assert len(await ids(world.provider)) == 5


async def test_fifty_thousand_devices_are_listed_in_seconds() -> None:
    cloud = Golioth(SECRET, check_every=50)
    cloud.devices = MadeFleet(50_000)
    async with cloud.http as http:
        provider = create_provider(ProviderSettings("golioth", "fleet", http.url, SECRET))
        began = time.monotonic()
        count = 0
        async for page in provider.list_devices():
            count += len(page.devices)
        assert count == 50_000
        assert time.monotonic() - began < 60
        await provider.aclose()


async def test_every_field_that_can_be_written_is(world: GoliothWorld) -> None:
    changes = DeviceChanges("M1", ("t2",), ("h1", "h2"), "cohort2", False)
    device = await world.provider.update_device("d1", changes)
    assert (device.name, device.serial_number, device.tags) == ("M1", "M1", ("t2",))
    assert world.cloud.devices["d1"]["tagIds"] == ["tag2"]
    assert (device.hardware_ids, device.cohort_id, device.golioth_status) == (
        ("h1", "h2"),
        "cohort2",
        "disabled",
    )


async def test_tags_are_known_by_their_names(world: GoliothWorld) -> None:
    world.cloud.tags["tag9"] = "spare"
    world.cloud.devices["d1"]["tagIds"] = ["tag9", "deleted", "tag1"]
    assert (await world.provider.get_device("d1")).tags == ("spare", "deleted", "field")
    await world.provider.get_device("d1")
    assert [one.path.rpartition("/")[2] for one in world.http.requests].count("tags") == 2
    await world.provider.update_device("d1", DeviceChanges(tags=("field", "new")))
    assert world.cloud.tags == {"tag1": "field", "tag9": "spare", "tag3": "new"}
    assert world.cloud.devices["d1"]["tagIds"] == ["tag1", "tag3"]


async def test_no_tag_is_made_for_a_device_that_is_not_there(world: GoliothWorld) -> None:
    with pytest.raises(NotFound):
        await world.provider.update_device("nobody", DeviceChanges(tags=("new",)))
    assert world.cloud.tags == {"tag1": "field"}


async def test_a_tag_that_is_renamed_has_its_new_name_in_the_next_listing(world: GoliothWorld) -> None:
    for name in ("field", "lab"):
        world.cloud.tags["tag1"] = name
        assert {one.tags async for page in world.provider.list_devices() for one in page.devices} == {(name,)}


async def test_a_cohort_with_others_is_not_updated_unless_that_is_said(world: GoliothWorld) -> None:
    with pytest.raises(Declined, match=r"holds 5 devices.*allow_cohort"):
        await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"))
    assert world.cloud.deployments == {}
    deployment = await world.provider.deploy_firmware(
        "d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True
    )
    assert (deployment.cohort_id, deployment.cohort_size) == ("cohort1", 5)
    assert world.cloud.deployments[deployment.deployment_id]["artifactIds"] == ["a2"]


async def test_a_cohort_of_one_is_updated_and_named(world: GoliothWorld) -> None:
    world.cloud.cohorts["alone"] = {"cohortId": "alone", "name": "alone"}
    world.cloud.devices["d1"]["cohortId"] = "alone"
    deployment = await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"))
    assert (deployment.cohort_id, deployment.cohort_size) == ("alone", 1)


async def test_a_device_without_a_cohort_cannot_be_updated(world: GoliothWorld) -> None:
    del world.cloud.devices["d1"]["cohortId"]
    with pytest.raises(Declined, match="no cohort"):
        await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"))


async def test_a_deployment_keeps_the_cohorts_other_packages(world: GoliothWorld) -> None:
    world.cloud.artifacts["g1"] = {"id": "g1", "package": "cellgateway", "version": "7"}
    world.cloud.deployments["dep0"] = {"deploymentId": "dep0", "artifactIds": ["a1", "g1", "deleted"]}
    world.cloud.cohorts["cohort1"]["activeDeploymentId"] = "dep0"
    made = await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True)
    assert world.cloud.deployments[made.deployment_id]["artifactIds"] == ["a2", "g1"]


async def test_an_artifact_of_another_component_is_not_deployed(world: GoliothWorld) -> None:
    artifact = Artifact("a2", "main", "1.2.0")
    with pytest.raises(Declined, match='package "main", not of component "cellgateway"'):
        await world.provider.deploy_firmware("d1", artifact, component="cellgateway", allow_cohort=True)


async def test_an_unknown_artifact_is_not_found_before_anything_is_made(world: GoliothWorld) -> None:
    with pytest.raises(NotFound):
        await world.provider.deploy_firmware("d1", Artifact("a9", "main", "9"), allow_cohort=True)
    assert world.cloud.deployments == {}


async def test_a_deployment_whose_answer_is_lost_says_that_it_may_be_there(world: GoliothWorld) -> None:
    world.http.fail_write = Fault("cut")
    with pytest.raises(ProviderAway, match="may have been made"):
        await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True)


async def test_a_package_that_the_device_has_not_holds_no_deployment_up(world: GoliothWorld) -> None:
    world.cloud.artifacts["g1"] = {"id": "g1", "package": "cellgateway", "version": "7"}
    world.cloud.deployments["dep0"] = {"deploymentId": "dep0", "artifactIds": ["g1"]}
    world.cloud.cohorts["cohort1"]["activeDeploymentId"] = "dep0"
    made = await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True)
    world.cloud.devices["d1"]["metadata"]["update"]["main"]["version"] = "1.2.0"
    assert (await world.provider.get_progress("d1", made.deployment_id)).status == "succeeded"
    assert (await world.provider.get_progress("d1", "dep0")).status == "queued"


async def test_progress_follows_what_the_device_reports(world: GoliothWorld) -> None:
    made = await world.provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True)
    update = world.cloud.devices["d1"]["metadata"]["update"]
    update["main"] |= {"state": 1, "target": "1.2.0"}
    status = await world.provider.get_device_status("d1")
    assert (status.update_in_progress, status.update_available) == (True, True)
    assert (await world.provider.get_progress("d1", made.deployment_id)).status == "in_progress"
    update["main"] |= {"state": 0, "version": "1.2.0"}
    status = await world.provider.get_device_status("d1")
    assert (status.update_in_progress, status.update_available) == (False, False)
    assert (await world.provider.get_progress("d1", made.deployment_id)).status == "succeeded"


async def test_the_organization_is_asked_for_once_or_taken_from_the_settings(world: GoliothWorld) -> None:
    for number in ("1", "2"):
        artifact = Artifact(f"a{number}", "main", f"1.{number}.0")
        await world.provider.deploy_firmware("d1", artifact, allow_cohort=True)
    assert [one.path for one in world.http.requests].count("/v1/projects/fleet") == 1
    world.http.requests.clear()
    settings = ProviderSettings("golioth", "fleet", world.http.url, SECRET, {"organization_id": "acme"})
    provider = create_provider(settings, limits=HASTY)
    await provider.deploy_firmware("d1", Artifact("a2", "main", "1.2.0"), allow_cohort=True)
    assert "/v1/projects/fleet" not in [one.path for one in world.http.requests]
    await provider.aclose()


async def test_credentials_come_with_secrets_that_no_repr_shows(world: GoliothWorld) -> None:
    world.cloud.credentials["d1"] = [
        {"id": "c1", "type": "PRE_SHARED_KEY", "identity": "d1@fleet", "preSharedKey": "hush"},
        {"id": "c2", "type": "ASYMMETRIC_KEY_PAIR", "identity": "cn=d1"},
        {"id": "c3", "type": "PRE_SHARED_KEY"},
    ]  # fmt: skip
    found = await world.provider.list_credentials("d1")
    assert [(one.credential_type, one.identity, one.secret) for one in found] == [
        ("PRE_SHARED_KEY", "d1@fleet", "hush"),
        ("CERTIFICATE", "cn=d1", None),
    ]
    assert "hush" not in repr(found)


async def test_artifacts_say_size_and_time_and_unusable_ones_are_left_out(world: GoliothWorld) -> None:
    world.cloud.artifacts["a1"] |= {"createdAt": "2026-01-01T00:00:00Z", "binaryInfo": {"type": "mcuboot"}}
    world.cloud.artifacts["a3"]["version"] = "x" * 51
    found = [one async for one in world.provider.list_artifacts()]
    assert [one.external_id for one in found] == ["a1", "a2"]
    assert (found[0].size_bytes, found[0].released_at, found[0].metadata) == (
        1024,
        T0,
        {"binary": {"type": "mcuboot"}},
    )


async def test_the_fake_refuses_what_the_contract_does_not_know() -> None:
    contract = Golioth(SECRET).contract
    path = "/v1/projects/fleet/devices"
    for request in (
        Request("GET", "/v1/nothing", {}, {}, b""),
        Request("GET", path, {"perpage": ["1"]}, {}, b""),
        Request("GET", path, {"page": ["1", "2"]}, {}, b""),
        Request("PATCH", f"{path}/d1", {}, {}, b'{"tags": []}'),
        Request("PATCH", f"{path}/d1", {}, {}, b'{"tagIds": "x"}'),
    ):
        with pytest.raises(ContractViolationError):
            contract.operation(request)
