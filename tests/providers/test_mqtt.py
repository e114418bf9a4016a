"""A broker as a provider: the table's devices, the broker's health, retained commands."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from ingest.errors import BrokerAway, Declined, Misconfigured, ProviderAway
from ingest.providers.factory import create_provider
from ingest.providers.mqtt import MqttProvider, MqttSide
from ingest.providers.port import Artifact, DeviceChanges
from ingest.providers.settings import ProviderSettings
from tests.providers.worlds import MqttWorld, Opened
from tests.providers.worlds import _row as row


@pytest.fixture
async def world() -> AsyncIterator[MqttWorld]:
    async with Opened("mqtt") as opened:
        yield opened


async def test_a_deployment_is_a_retained_command_at_the_devices_topic(world: MqttWorld) -> None:
    artifact = Artifact("a1", "main", "2.0", 1024, "ab" * 32, metadata={"url": "https://example.com/2.0.bin"})
    made = await world.provider.deploy_firmware("d1", artifact)
    assert {topic: json.loads(payload) for topic, payload in world.retained.items()} == {
        "devices/d1/firmware/set": {
            "deployment": made.deployment_id,
            "component": "main",
            "version": "2.0",
            "artifact": "a1",
            "package": "main",
            "size": 1024,
            "sha256": "ab" * 32,
            "url": "https://example.com/2.0.bin",
        }
    }


@pytest.mark.parametrize("external_id", ["a/b", "+", "#", "a+b", "a\0b"])
async def test_a_device_whose_id_is_no_topic_level_gets_no_command(
    world: MqttWorld, external_id: str
) -> None:
    world.table[external_id] = row(external_id)
    with pytest.raises(Declined):
        await world.provider.deploy_firmware(external_id, Artifact("a1", "main", "2.0"))
    assert world.retained == {}


async def test_the_topic_of_a_command_is_a_setting(world: MqttWorld) -> None:
    side = world.provider._side  # type: ignore[attr-defined]
    provider = MqttProvider(ProviderSettings("mqtt", settings={"firmware_topic": "fw/{device_id}"}), side)
    await provider.deploy_firmware("d1", Artifact("a1", "main", "2.0"))
    assert list(world.retained) == ["fw/d1"]
    for topic in ("fw", "fw/{device_id}/{device_id}", "fw/+/{device_id}", "#{device_id}"):
        with pytest.raises(Misconfigured, match="firmware_topic"):
            MqttProvider(ProviderSettings("mqtt", settings={"firmware_topic": topic}), side)


async def test_a_long_table_is_read_in_pages(world: MqttWorld) -> None:
    world.table = {f"d{number:04}": row(f"d{number:04}") for number in range(1200)}
    pages = [page async for page in world.provider.list_devices()]
    assert [len(page.devices) for page in pages] == [500, 500, 200]
    rest = [page async for page in world.provider.list_devices(pages[1].cursor)]
    assert [len(page.devices) for page in rest] == [200]


async def test_the_brokers_health_is_told(world: MqttWorld) -> None:
    assert "broker/version: mosquitto version 2.0.11" in (await world.provider.test_connection()).detail
    world.health = {}
    assert "nothing under $SYS" in (await world.provider.test_connection()).detail


async def test_a_silent_table_or_broker_is_away_in_bounded_time(world: MqttWorld) -> None:
    world.silent = True
    for asked in (
        world.provider.test_connection(),
        world.provider.get_device("d1"),
        world.provider.deploy_firmware("d1", Artifact("a1", "main", "2.0")),
        anext(aiter(world.provider.list_devices())),
    ):
        with pytest.raises(ProviderAway, match="no answer in time"):
            await asyncio.wait_for(asked, 5)


async def test_what_the_broker_side_raises_comes_through(world: MqttWorld) -> None:
    async def away() -> dict[str, str]:
        raise BrokerAway("not connected")

    side: MqttSide = world.provider._side  # type: ignore[attr-defined]
    provider = create_provider(
        ProviderSettings("mqtt"), mqtt=MqttSide(side.read_page, side.read_device, side.publish, away)
    )
    with pytest.raises(BrokerAway, match="not connected"):
        await provider.test_connection()


async def test_a_refusal_writes_nothing(world: MqttWorld) -> None:
    before = dict(world.table)
    with pytest.raises(Declined):
        await world.provider.update_device("d1", DeviceChanges(name="x"))
    assert world.table == before
