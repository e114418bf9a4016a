"""A plain MQTT broker as a provider: it keeps no registry, so the devices are those of the table."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import orjson

from handlers.events import MAIN
from handlers.text import truncate
from ingest.errors import Declined, Misconfigured, NotFound, NotSupported, ProviderAway
from ingest.providers.listing import pages
from ingest.providers.port import (
    Artifact,
    Capabilities,
    Credential,
    Deployment,
    DeviceChanges,
    ListedDevice,
    LiveStatus,
    Page,
    Progress,
    Reached,
)
from ingest.providers.retry import Limits
from ingest.providers.settings import ProviderSettings

Result = TypeVar("Result")

PER_PAGE = 500
TOPIC = "devices/{device_id}/firmware/set"
CAPABILITIES = Capabilities(supports_firmware_deployment=True)


@dataclass(frozen=True, slots=True)
class MqttSide:
    """What the provider uses of the service that it runs in.

    `read_page(after, limit)` returns at most `limit` devices with an external_id above `after`, in that order;
    `read_device` one or None; `publish(topic, payload, retain)` returns once the broker has it; `broker_health`
    returns what the broker says under $SYS, topic -> text, empty where it says nothing.
    """

    read_page: Callable[[str | None, int], Awaitable[Sequence[ListedDevice]]]
    read_device: Callable[[str], Awaitable[ListedDevice | None]]
    publish: Callable[[str, bytes, bool], Awaitable[None]]
    broker_health: Callable[[], Awaitable[Mapping[str, str]]]


class MqttProvider:
    """One broker and the devices of the table that it serves."""

    def __init__(self, settings: ProviderSettings, side: MqttSide, limits: Limits | None = None) -> None:
        self._side = side
        self._limits = limits or Limits()
        self._topic = settings.text("firmware_topic") or TOPIC
        if self._topic.count("{device_id}") != 1 or any(sign in self._topic for sign in "+#"):
            raise Misconfigured(
                "mqtt: the setting firmware_topic must hold {device_id} once, and neither + nor #"
            )

    @property
    def capabilities(self) -> Capabilities:
        """What a broker can do: carry a command. Presence comes in by itself."""
        return CAPABILITIES

    async def test_connection(self) -> Reached:
        """Ask the broker how it is."""
        health = await self._bounded(self._side.broker_health(), "the broker's health")
        if not health:
            return Reached("the broker answers; it publishes nothing under $SYS")
        told = "; ".join(f"{topic.rpartition('$SYS/')[2]}: {text}" for topic, text in sorted(health.items()))
        return Reached(f"the broker answers; {truncate(told, 300)}")

    def list_devices(self, after: str | None = None) -> AsyncIterator[Page]:
        """List the devices of the table in the order of external_id; a cursor is the last one's."""

        async def fetch(last: str | None) -> tuple[Sequence[ListedDevice], str | None]:
            devices = await self._bounded(self._side.read_page(last, PER_PAGE), "the devices")
            return devices, None if len(devices) < PER_PAGE else devices[-1].external_id

        return pages("mqtt", fetch, lambda device: device, after)

    async def get_device(self, external_id: str) -> ListedDevice:
        """Return one device of the table. Raises: NotFound."""
        found = await self._bounded(self._side.read_device(external_id), "a device")
        if found is None:
            raise NotFound(f'mqtt: there is no device "{truncate(external_id)}"')
        return found

    async def get_device_status(self, external_id: str) -> LiveStatus:
        """Raise NotSupported: devices tell the broker, and the row has it already."""
        raise NotSupported("an MQTT broker cannot be asked about a device: its row is all that is known")

    async def update_device(self, external_id: str, changes: DeviceChanges) -> ListedDevice:
        """Raise NotSupported: there is nothing but the row to write."""
        raise NotSupported("an MQTT broker keeps nothing of a device that could be written")

    async def deploy_firmware(
        self, external_id: str, artifact: Artifact, *, component: str = MAIN, allow_cohort: bool = False
    ) -> Deployment:
        """Publish a retained command, which the device gets now or when it connects. Raises: NotFound, Declined."""
        await self.get_device(external_id)
        if not external_id or any(sign in external_id for sign in "+#/\0"):
            raise Declined(f'mqtt: "{truncate(external_id)}" cannot be a level of a topic')
        deployment_id = str(uuid4())
        command = {
            "deployment": deployment_id,
            "component": component,
            "version": artifact.version,
            "artifact": artifact.external_id,
            "package": artifact.package,
            "size": artifact.size_bytes,
            "sha256": artifact.checksum_sha256,
            "url": artifact.metadata.get("url"),
        }
        payload = orjson.dumps({key: value for key, value in command.items() if value is not None})
        topic = self._topic.replace("{device_id}", external_id)
        await self._bounded(self._side.publish(topic, payload, True), "publishing the command")
        return Deployment(deployment_id, "queued", artifact.external_id, artifact.version, component)

    async def get_progress(self, external_id: str, deployment_id: str) -> Progress:
        """Raise NotSupported: the version that the device sends is the progress."""
        raise NotSupported("an MQTT broker knows no deployments: compare the device's version")

    def list_artifacts(self) -> AsyncIterator[Artifact]:
        """Raise NotSupported: a broker holds no images."""
        raise NotSupported("an MQTT broker keeps no firmware images: name the artifact yourself")

    async def list_credentials(self, external_id: str) -> tuple[Credential, ...]:
        """Raise NotSupported: passwords are the broker's own."""
        raise NotSupported("an MQTT broker shows no device's password")

    async def aclose(self) -> None:
        """Close nothing: the connection is the service's."""

    async def _bounded(self, waiting: Awaitable[Result], what: str) -> Result:
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await waiting
        except TimeoutError:
            raise ProviderAway(f"mqtt: {what}: no answer in time") from None
