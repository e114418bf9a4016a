"""Azure IoT Hub: signatures, etags, twins."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from handlers.events import SECOND
from ingest.errors import Declined, Misconfigured, ProviderRefused
from ingest.providers.azure_iot.device import listed
from ingest.providers.azure_iot.sas import LIFETIME_S, ConnectionString, Signer
from ingest.providers.factory import create_provider
from ingest.providers.port import Artifact, DeviceChanges, Installed, ListedDevice
from ingest.providers.settings import ProviderSettings
from tests.providers.worlds import HASTY, SECRET, AzureWorld, Opened
from tests.servers.azure_iot import AzureIot

T0 = 1_767_225_600 * SECOND


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with Opened("azure_iot") as opened:
        yield opened


def signature_of(authorization: str) -> str:
    return authorization.partition("&sig=")[2].partition("&")[0]


def read(**changes: Any) -> ListedDevice:
    cloud = AzureIot(b"k")
    cloud.add("d1", **changes)
    found = listed(cloud.twins["d1"])
    assert isinstance(found, ListedDevice)
    return found


def test_a_signature_is_made_once_and_renewed_before_it_ends() -> None:
    now = 1000.0
    signer = Signer(ConnectionString.parse(AzureIot(b"k").connection_string), lambda: now)
    first = signer.headers()
    now += LIFETIME_S / 2
    assert signer.headers() == first
    now += LIFETIME_S / 2 - 60
    second = signer.headers()
    assert second != first
    expiry = int(parse_qs(second["authorization"])["se"][0])
    assert expiry == int(now) + LIFETIME_S


async def test_a_signature_serves_many_requests(world: AzureWorld) -> None:
    [page async for page in world.provider.list_devices()]
    await world.provider.get_device("d1")
    assert len(world.cloud.tokens) == 1


async def test_a_wrong_key_or_policy_is_refused(world: AzureWorld) -> None:
    for other in (
        AzureIot(b"other"),
        AzureIot(SECRET.encode(), policy="x"),
        AzureIot(SECRET.encode(), "y.net"),
    ):
        settings = ProviderSettings("azure_iot", None, world.http.url, other.connection_string)
        provider = create_provider(settings, limits=HASTY)
        with pytest.raises(ProviderRefused) as raised:
            await provider.test_connection()
        assert not [token for token in world.cloud.tokens if signature_of(token) in str(raised.value)]
        await provider.aclose()


@pytest.mark.parametrize(
    "key",
    [
        None,
        "hush",
        "HostName=h;SharedAccessKey=aHVzaA==",
        "HostName=h;SharedAccessKeyName=p;SharedAccessKey=hu$h",
    ],
)
def test_a_connection_string_that_is_none_is_refused_without_being_shown(key: str | None) -> None:
    with pytest.raises(Misconfigured) as raised:
        create_provider(ProviderSettings("azure_iot", None, None, key))
    assert not [secret for secret in ("hush", "hu$h", "aHVzaA") if secret in str(raised.value)]


def test_a_parsed_connection_string_shows_no_key() -> None:
    text = AzureIot(SECRET.encode()).connection_string
    parsed = ConnectionString.parse(text)
    assert (parsed.host, parsed.policy, parsed.key) == ("hub.azure-devices.net", "rollcall", SECRET.encode())
    assert SECRET not in repr(parsed)
    assert base64.b64encode(SECRET.encode()).decode() not in repr(parsed)


def test_activity_is_evidence_of_having_been_online_then() -> None:
    device = read()
    assert (device.connected, device.connected_at) == (True, None)
    assert (device.online_at, device.offline_at) == (T0 + 20_123_456, None)


def test_a_connection_state_counts_from_its_own_time() -> None:
    since = {"connectionStateUpdatedTime": "2026-01-01T00:00:30Z"}
    connected, gone = read(**since), read(connected=False, **since)
    assert (connected.connected_at, connected.online_at) == (T0 + 30 * SECOND, T0 + 30 * SECOND)
    assert (gone.connected, gone.offline_at, gone.online_at) == (False, T0 + 30 * SECOND, T0 + 20_123_456)


def test_a_device_that_was_never_active_has_no_time_and_no_problem() -> None:
    device = read(connected=False, lastActivityTime="0001-01-01T00:00:00Z")
    assert (device.online_at, device.offline_at, device.problems) == (None, None, ())


def test_reported_properties_have_each_its_own_time() -> None:
    device = read()
    assert (device.battery_level, device.battery_at) == (82, T0 + SECOND)
    assert device.firmware == (Installed("main", "1.2.3", T0 + 3 * SECOND),)
    components = {
        "firmware": {"main": "1.0", "modem": {"version": "7"}},
        "$metadata": {
            "$lastUpdated": "2026-01-01T00:00:09Z",
            "firmware": {
                "$lastUpdated": "2026-01-01T00:00:08Z",
                "main": {"$lastUpdated": "2026-01-01T00:00:07Z"},
            },
        },
    }
    device = read(properties={"reported": components})
    assert device.firmware == (Installed("main", "1.0", T0 + 7 * SECOND),)
    assert len(device.problems) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": 3},
        {"properties": []},
        {"properties": {"reported": "x"}},
        {"connectionState": 3},
        {"tags": None},
    ],
)
def test_an_odd_twin_costs_no_more_than_what_is_odd(changes: dict[str, Any]) -> None:
    assert read(**changes).external_id == "d1"


async def test_a_status_takes_the_connection_from_the_identity(world: AzureWorld) -> None:
    world.cloud.identities["d1"] |= {"connectionState": "Disconnected", "statusReason": "maintenance"}
    status = await world.provider.get_device_status("d1")
    assert (status.device.connected, status.device.offline_at) == (False, T0 + 10 * SECOND)
    assert status.reason == "maintenance"
    assert status.update_available is None


async def test_a_write_that_was_overtaken_is_made_on_what_is_there_now(world: AzureWorld) -> None:
    overtakes = iter((True, False))

    def somebody_else_writes(twin: dict[str, Any]) -> None:
        if next(overtakes):
            twin["tags"]["theirs"] = 1
            world.cloud.touch(twin)

    world.cloud.before_patch = somebody_else_writes
    device = await world.provider.update_device("d1", DeviceChanges(metadata={"ours": 2, "site": None}))
    assert device.metadata == {"theirs": 1, "ours": 2}


async def test_metadata_in_the_place_of_a_column_is_declined(world: AzureWorld) -> None:
    with pytest.raises(Declined, match="'tags' is not metadata"):
        await world.provider.update_device("d1", DeviceChanges(metadata={"tags": {"a": 1}}))


async def test_a_write_that_is_always_overtaken_ends(world: AzureWorld) -> None:
    world.cloud.before_patch = world.cloud.touch
    with pytest.raises(Declined, match="written by others"):
        await world.provider.update_device("d1", DeviceChanges(metadata={"ours": 2}))


async def test_a_deployment_is_a_desired_version_until_it_is_reported(world: AzureWorld) -> None:
    provider = world.provider
    made = await provider.deploy_firmware("d1", Artifact("blob", "main", "2.0"))
    desired = world.cloud.twins["d1"]["properties"]["desired"]["firmware"]
    assert desired == {"main": {"version": "2.0", "artifact": "blob", "deployment": made.deployment_id}}
    assert made.queued_at == T0 + 86_400 * SECOND
    assert (await provider.get_device_status("d1")).update_available is True
    world.cloud.twins["d1"]["properties"]["reported"]["firmware"] = "2.0"
    progress = await provider.get_progress("d1", made.deployment_id)
    assert (progress.status, progress.at) == ("succeeded", T0 + 3 * SECOND)
    assert (await provider.get_device_status("d1")).update_available is False
    await provider.deploy_firmware("d1", Artifact("blob3", "main", "3.0"))
    assert (await provider.get_progress("d1", made.deployment_id)).status == "canceled"


async def test_components_are_deployed_side_by_side_under_the_property_of_the_settings(
    world: AzureWorld,
) -> None:
    settings = ProviderSettings(
        "azure_iot", None, world.http.url, world.cloud.connection_string, {"firmware_property": "images"}
    )
    provider = create_provider(settings, limits=HASTY)
    await provider.deploy_firmware("d1", Artifact("a", "main", "2.0"))
    await provider.deploy_firmware("d1", Artifact("b", "modem", "7"), component="modem")
    assert world.cloud.twins["d1"]["properties"]["desired"]["images"].keys() == {"main", "modem"}
    await provider.aclose()
