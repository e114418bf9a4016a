"""AWS IoT: the registry and jobs against moto; connectivity and progress against the checked fake."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from handlers.events import SECOND
from ingest.egress.gate import Egress
from ingest.errors import Declined, Misconfigured, NotFound, NotSupported, ProviderAway
from ingest.providers.aws_iot.device import listed
from ingest.providers.aws_iot.session import session
from ingest.providers.factory import create_provider
from ingest.providers.port import Artifact, DeviceChanges, Installed, ListedDevice, Provider
from ingest.providers.settings import ProviderSettings
from tests.providers.worlds import HASTY, SECRET, AwsWorld, Opened
from tests.servers.aws_iot import ModelViolationError, service_model
from tests.servers.http import Fault, Request

REGION = "eu-central-1"
T0_S = 1_767_225_600


@pytest.fixture
async def world() -> AsyncIterator[AwsWorld]:
    async with Opened("aws_iot") as opened:
        yield opened


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def registry(moto: str) -> Any:
    """A client of moto with 260 things, more than one page of them."""
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": SECRET}
    client = boto3.client("iot", region_name=REGION, endpoint_url=moto, **keys)
    for number in range(260):
        client.create_thing(
            thingName=f"t{number:03}",
            attributePayload={"attributes": {"serial_number": f"SN-{number}", "site": "x"}},
        )
    return client


@pytest.fixture
async def real(moto: str, registry: Any) -> AsyncIterator[Provider]:
    """A provider that asks moto, by the registry alone."""
    settings = ProviderSettings(
        "aws_iot", None, moto, f"AKID:{SECRET}", {"region": REGION, "fleet_index": False}
    )
    provider = create_provider(settings)
    yield provider
    await provider.aclose()


async def test_moto_the_registry_is_listed_over_pages(real: Provider) -> None:
    pages = [page async for page in real.list_devices()]
    assert [len(page.devices) for page in pages] == [250, 10]
    assert pages[0].devices[7].serial_number == "SN-7"
    rest = [page async for page in real.list_devices(pages[0].cursor)]
    assert [one.external_id for one in rest[0].devices] == [f"t{number}" for number in range(250, 260)]


async def test_moto_a_thing_is_read_written_and_read(real: Provider, registry: Any) -> None:
    written = await real.update_device(
        "t001", DeviceChanges("Pump", ("a", "b"), metadata={"site": None, "floor": 3, "on": True})
    )
    assert (written.name, written.tags, written.serial_number) == ("Pump", ("a", "b"), "SN-1")
    assert written.metadata == {"floor": "3", "on": "true"}
    attributes = registry.describe_thing(thingName="t001")["attributes"]
    assert attributes == {"serial_number": "SN-1", "name": "Pump", "tags": "a,b", "floor": "3", "on": "true"}
    with pytest.raises(NotFound):
        await real.get_device("nobody")


async def test_moto_a_deployment_is_a_job_for_one_thing(real: Provider, registry: Any) -> None:
    made = await real.deploy_firmware("t002", Artifact("s3-key", "main", "2.0.0"))
    job = registry.describe_job(jobId=made.deployment_id)["job"]
    assert [target.rpartition("/")[2] for target in job["targets"]] == ["t002"]
    assert job["targetSelection"] == "SNAPSHOT"
    document = json.loads(registry.get_job_document(jobId=made.deployment_id)["document"])
    assert document == {
        "operation": "firmware",
        "component": "main",
        "version": "2.0.0",
        "artifact": "s3-key",
    }
    assert (await real.get_progress("t002", made.deployment_id)).status == "queued"


async def test_moto_the_index_lists_as_the_registry_does(moto: str, registry: Any) -> None:
    provider = create_provider(ProviderSettings("aws_iot", None, moto, f"AKID:{SECRET}", {"region": REGION}))
    found = {one.external_id async for page in provider.list_devices() for one in page.devices}
    assert found == {f"t{number:03}" for number in range(260)}
    await provider.aclose()


def document(**changes: Any) -> ListedDevice:
    found = listed({"thingName": "d1", "attributes": {}, **changes})
    assert isinstance(found, ListedDevice)
    return found


def test_connected_is_since_the_time_of_the_index() -> None:
    device = document(connectivity={"connected": True, "timestamp": T0_S * 1000 + 5})
    at = T0_S * SECOND + 5_000
    assert (device.connected, device.connected_at, device.online_at, device.offline_at) == (
        True,
        at,
        at,
        None,
    )


def test_disconnected_is_since_the_time_of_the_index_if_it_has_one() -> None:
    device = document(connectivity={"connected": False, "timestamp": T0_S * 1000})
    assert (device.connected, device.offline_at, device.online_at) == (False, T0_S * SECOND, None)
    for lost in ({"connected": False}, {"connected": False, "timestamp": 0}):
        device = document(connectivity=lost)
        assert (device.connected, device.connected_at, device.offline_at) == (False, None, None)


def test_a_key_in_lower_case_is_preferred() -> None:
    assert document(shadow='{"reported": {"BATTERY": 1, "battery": 2, "Battery": 3}}').battery_level == 2


def test_the_shadow_gives_values_with_the_time_of_each() -> None:
    shadow = {
        "reported": {"battery": 50, "RSSI": -80, "firmware": {"main": "1.0", "modem": "7"}},
        "metadata": {
            "reported": {
                "battery": {"timestamp": T0_S},
                "RSSI": {"timestamp": T0_S + 1},
                "firmware": {"main": {"timestamp": T0_S + 2}},
            }
        },
    }
    device = document(shadow=json.dumps(shadow))
    assert (device.battery_level, device.battery_at) == (50, T0_S * SECOND)
    assert (device.signal_strength, device.signal_at) == (-80, (T0_S + 1) * SECOND)
    assert device.firmware == (Installed("main", "1.0", (T0_S + 2) * SECOND), Installed("modem", "7", None))


@pytest.mark.parametrize(
    "shadow",
    ["{", "[]", "7", '{"reported": []}', '{"reported": {"battery": "high"}}', '{"metadata": 3}', "", None],
)
def test_an_odd_shadow_costs_its_values_only(shadow: str | None) -> None:
    device = document(shadow=shadow, attributes={"serial_number": "S"})
    assert (device.battery_level, device.serial_number) == (None, "S")


async def test_a_status_is_ahead_of_the_index_and_says_why(world: AwsWorld) -> None:
    world.cloud.add("d1", connected=False, at_ms=T0_S * 1000)
    status = await world.provider.get_device_status("d1")
    assert (status.device.connected, status.device.offline_at) == (False, T0_S * SECOND)
    assert status.reason == "MQTT_KEEP_ALIVE_TIMEOUT"
    assert status.device.battery_level == 81
    world.cloud.add("d1")
    assert (await world.provider.get_device_status("d1")).reason is None


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("IN_PROGRESS", "in_progress"), ("SUCCEEDED", "succeeded"), ("FAILED", "failed"), ("TIMED_OUT", "failed"),
        ("REJECTED", "failed"), ("REMOVED", "canceled"), ("CANCELED", "canceled"),
    ],
)  # fmt: skip
async def test_progress_is_the_state_of_the_job_on_the_thing(world: AwsWorld, said: str, status: str) -> None:
    made = await world.provider.deploy_firmware("d1", Artifact("k", "main", "2"))
    world.cloud.executions[made.deployment_id, "d1"] |= {"status": said, "lastUpdatedAt": T0_S}
    progress = await world.provider.get_progress("d1", made.deployment_id)
    assert (progress.status, progress.detail, progress.at) == (status, said, T0_S * SECOND)


async def test_a_job_whose_answer_is_lost_is_found_made(world: AwsWorld) -> None:
    world.http.fail_write = Fault("cut")
    made = await world.provider.deploy_firmware("d1", Artifact("k", "main", "2"))
    assert list(world.cloud.jobs) == [made.deployment_id]


async def test_without_the_index_there_are_no_connections(world: AwsWorld) -> None:
    settings = {"region": REGION, "fleet_index": False}
    provider = create_provider(
        ProviderSettings("aws_iot", None, world.http.url, f"AKIDEXAMPLE:{SECRET}", settings), limits=HASTY
    )
    devices = [one async for page in provider.list_devices() for one in page.devices]
    assert {(one.connected, one.online_at, one.battery_level) for one in devices} == {(None, None, None)}
    assert len(devices) == 5
    assert not provider.capabilities.reports_connection_state
    with pytest.raises(NotSupported, match="fleet_index"):
        await provider.get_device_status("d1")
    await provider.aclose()


async def test_an_attribute_that_cannot_be_text_is_declined(world: AwsWorld) -> None:
    with pytest.raises(Declined, match="'where' is an object"):
        await world.provider.update_device("d1", DeviceChanges(metadata={"where": {"x": 1}}))


@pytest.mark.parametrize("changes", [DeviceChanges(tags=("a,b",)), DeviceChanges(metadata={"tags": "x"})])
async def test_what_would_be_read_back_otherwise_is_declined(world: AwsWorld, changes: DeviceChanges) -> None:
    before = await world.provider.get_device("d1")
    with pytest.raises(Declined):
        await world.provider.update_device("d1", changes)
    assert await world.provider.get_device("d1") == before


async def test_the_settings_add_to_the_document_of_a_job(world: AwsWorld) -> None:
    settings = {"region": REGION, "job_document": {"url": "${aws:iot:s3-presigned-url:b/k}"}}
    provider = create_provider(
        ProviderSettings("aws_iot", None, world.http.url, f"AKIDEXAMPLE:{SECRET}", settings), limits=HASTY
    )
    made = await provider.deploy_firmware("d1", Artifact("k", "main", "2"))
    told = json.loads(world.cloud.jobs[made.deployment_id]["document"])
    assert told["url"] == "${aws:iot:s3-presigned-url:b/k}"
    await provider.aclose()


@pytest.mark.parametrize("key", [None, "", "AKID", "AKID:", ":hush", "AKID hush"])
def test_a_key_of_another_form_is_refused_and_never_the_machines_own_taken(key: str | None) -> None:
    with pytest.raises(Misconfigured) as raised:
        create_provider(ProviderSettings("aws_iot", None, None, key, {"region": REGION}))
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "settings", [{}, {"region": 3}, {"region": "x"}, {"region": REGION, "fleet_index": "no"}, {"region": ""}]
)
def test_settings_that_are_missing_or_wrong_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"region|fleet_index"):
        create_provider(ProviderSettings("aws_iot", None, None, "AKID:hush", settings))


def test_the_fake_refuses_what_the_service_model_does_not_know() -> None:
    model = service_model()
    for request in (
        Request("GET", "/nothing", {}, {}, b""),
        Request("POST", "/indices/search", {}, {}, b'{"queryString": 3}'),
        Request("POST", "/indices/search", {}, {}, b'{"queryString": "*", "page": 3}'),
        Request("POST", "/indices/search", {}, {}, b"{}"),
        Request("GET", "/things", {"maxResults": ["0"]}, {}, b""),
    ):
        with pytest.raises(ModelViolationError):
            model.parse(request)
    operation, _ = model.parse(Request("GET", "/things", {}, {}, b""))
    with pytest.raises(ModelViolationError):
        model.answer(operation, {"things": [{"thingName": 3}]})


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ENDPOINT_URL": "{elsewhere}"},
        {"AWS_ENDPOINT_URL_IOT": "{elsewhere}"},
        {"AWS_PROFILE": "theirs"},
        {"AWS_PROFILE": "missing"},
        {"AWS_CONFIG_FILE": "{folder}/config"},
        {"AWS_CONFIG_FILE": "{folder}/broken"},
        {"AWS_SHARED_CREDENTIALS_FILE": "{folder}/broken"},
        {"AWS_CA_BUNDLE": "{folder}/broken"},
        {"AWS_DATA_PATH": "{folder}"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    ],
    ids=str,
)
async def test_the_machines_own_profile_files_and_variables_have_no_say(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: list[str] = []

    async def meet(egress: Egress, host: str, port: int) -> list[Any]:
        hosts.append(host)
        raise OSError("nobody is met")

    monkeypatch.setattr(Egress, "places", meet)
    values = {"elsewhere": "http://elsewhere.example:9", "folder": str(tmp_path)}
    ours = "[default]\nendpoint_url = http://elsewhere.example:9\n"
    (tmp_path / "config").write_text(f"{ours}[profile theirs]\nendpoint_url = http://elsewhere.example:9\n")
    (tmp_path / "broken").write_text("[[[")
    if "AWS_PROFILE" in variables:
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(**values))
    session.cache_clear()
    provider = create_provider(
        ProviderSettings("aws_iot", None, None, f"AKID:{SECRET}", {"region": REGION}), limits=HASTY
    )
    with pytest.raises(ProviderAway):
        await provider.test_connection()
    await provider.aclose()
    assert set(hosts) == {"iot.eu-central-1.amazonaws.com"}


async def test_the_index_is_asked_for_no_more_than_it_gives(world: AwsWorld) -> None:
    """SearchIndex takes at most 100. Source: its API reference, maxResults."""
    pages = [page async for page in world.provider.list_devices()]
    assert pages
    asked = [one.json()["maxResults"] for one in world.http.requests if one.path.endswith("/search")]
    assert asked
    assert max(asked) <= 100
