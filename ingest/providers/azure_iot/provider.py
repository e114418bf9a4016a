"""Azure IoT Hub as a provider."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from handlers.events import MAIN, FieldError
from handlers.text import truncate
from ingest.errors import Declined, NotFound, NotSupported, ProviderAway
from ingest.providers.azure_iot import device
from ingest.providers.azure_iot.device import object_or_empty
from ingest.providers.azure_iot.sas import ConnectionString, Signer
from ingest.providers.checks import checked_key, object_of, segment
from ingest.providers.columns import Columns
from ingest.providers.http import JsonApi
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

HUBS = (".azure-devices.net", ".azure-devices.cn", ".azure-devices.us")
"""The domains of IoT Hubs; another host in a key is somebody's own."""
API_VERSION = {"api-version": "2021-04-12"}
PER_PAGE = 100
CONTINUATION = "x-ms-continuation"
EVERYTHING = {"query": "SELECT * FROM devices"}
TRIES = 3
"""How often a twin is read and written again when somebody else writes it meanwhile."""
CAPABILITIES = Capabilities(
    supports_real_time_status=True,
    reports_connection_state=True,
    supports_update=True,
    updatable=frozenset(("name", "tags", "hardware_ids", "metadata")),
    supports_firmware_deployment=True,
    supports_deployment_progress=True,
)


class AzureIotProvider:
    """One IoT Hub."""

    def __init__(self, settings: ProviderSettings, limits: Limits | None = None) -> None:
        connection = ConnectionString.parse(
            checked_key(settings.api_key, "the IoT Hub policy's connection string")
        )
        self._property = settings.text("firmware_property") or "firmware"
        signer = Signer(connection)
        url = settings.base_url or f"https://{connection.host}"
        is_azure = settings.base_url is None and connection.host.endswith(HUBS)
        self._api = JsonApi(
            "Azure IoT Hub", url, signer.headers, signer.secrets, limits,
            egress=settings.egress, repeats=is_azure or settings.egress.listed is None,
        )  # fmt: skip

    @property
    def capabilities(self) -> Capabilities:
        """What an IoT Hub can do."""
        return CAPABILITIES

    async def test_connection(self) -> Reached:
        """Query one twin."""
        await self._page(None, 1)
        return Reached("Azure IoT Hub: the device query answers")

    def list_devices(self, after: str | None = None) -> AsyncIterator[Page]:
        """Query all twins. A cursor is the hub's own continuation; a query is some seconds behind the twins."""
        return pages("Azure IoT Hub", lambda token: self._page(token, PER_PAGE), device.listed, after)

    async def get_device(self, external_id: str) -> ListedDevice:
        """Return one device from its twin. Raises: NotFound."""
        return _usable(await self._get(_twin(external_id)), external_id)

    async def get_device_status(self, external_id: str) -> LiveStatus:
        """Return one device, its connection from the identity, which is ahead of the twin. Raises: NotFound."""
        twin = await self._get(_twin(external_id))
        identity = await self._get(f"/devices/{segment(external_id)}")
        columns = Columns()
        found = device.connected(_usable(twin, external_id), identity, columns)
        wanted, running = self._wanted(twin), {one.component: one.version for one in found.firmware}
        waits = [
            component for component, entry in wanted.items() if entry.get("version") != running.get(component)
        ]
        return LiveStatus(
            found._replace(problems=found.problems + columns.problems),
            reason=str(identity.get("statusReason") or "") or None,
            update_available=bool(waits) if wanted else None,
        )

    async def update_device(self, external_id: str, changes: DeviceChanges) -> ListedDevice:
        """Write twin tags. Raises: NotFound, NotSupported."""
        unknown = sorted(changes.given() - CAPABILITIES.updatable)
        if unknown:
            raise NotSupported(f"Azure IoT Hub twins have no {', '.join(unknown)} that can be written")
        tags = device.tags(changes)
        if not tags:
            return await self.get_device(external_id)
        return _usable(await self._patch(external_id, {"tags": tags}), external_id)

    async def deploy_firmware(
        self, external_id: str, artifact: Artifact, *, component: str = MAIN, allow_cohort: bool = False
    ) -> Deployment:
        """Write what the component should run into the twin's desired properties. Raises: NotFound."""
        deployment_id = f"{component}:{uuid4()}"
        wanted = {"version": artifact.version, "artifact": artifact.external_id, "deployment": deployment_id}
        patch = {"properties": {"desired": {self._property: {component: wanted}}}}
        twin = await self._patch(external_id, patch)
        desired = object_or_empty(object_or_empty(twin.get("properties")).get("desired"))
        stamps = object_or_empty(object_or_empty(desired.get("$metadata")).get(self._property))
        own = object_or_empty(stamps.get(component)) or stamps
        queued_at = Columns().moment("$lastUpdated", own.get("$lastUpdated"))
        return Deployment(
            deployment_id, "queued", artifact.external_id, artifact.version, component, queued_at
        )

    async def get_progress(self, external_id: str, deployment_id: str) -> Progress:
        """Compare the desired version with the reported one. Raises: NotFound."""
        twin = await self._get(_twin(external_id))
        component = deployment_id.partition(":")[0]
        wanted = self._wanted(twin).get(component)
        if wanted is None:
            raise NotFound(f'Azure IoT Hub: device "{truncate(external_id)}" has no such deployment')
        if wanted.get("deployment") != deployment_id:
            return Progress("canceled", "another deployment took its place")
        running = next(
            (one for one in _usable(twin, external_id).firmware if one.component == component), None
        )
        if running is not None and running.version == wanted.get("version"):
            return Progress("succeeded", "the device reports the version", running.at)
        return Progress("queued", "the device does not report the version yet")

    def list_artifacts(self) -> AsyncIterator[Artifact]:
        """Raise NotSupported: a hub holds no images."""
        raise NotSupported("Azure IoT Hub keeps no firmware images: name the artifact yourself")

    async def list_credentials(self, external_id: str) -> tuple[Credential, ...]:
        """Raise NotSupported: that would need the right to write the registry's keys out."""
        raise NotSupported("the keys of Azure IoT Hub's devices are not read")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()

    async def _page(self, token: str | None, count: int) -> tuple[list[Any], str | None]:
        headers = {"x-ms-max-item-count": str(count), **({CONTINUATION: token} if token else {})}
        path = "/devices/query"
        answer = await self._api.call(
            "POST", path, query=API_VERSION, body=EVERYTHING, headers=headers, idempotent=True
        )
        if not isinstance(answer.body, list):
            raise ProviderAway(f"Azure IoT Hub: {path}: the answer is not the list that was expected")
        return answer.body, answer.headers.get(CONTINUATION) or None

    async def _get(self, path: str) -> dict[str, Any]:
        return object_of((await self._api.call("GET", path, query=API_VERSION)).body, path)

    async def _patch(self, external_id: str, change: dict[str, Any]) -> dict[str, Any]:
        """Write a twin as it was read; when somebody was faster, read it again. Raises: Declined after TRIES."""
        path = _twin(external_id)
        for _ in range(TRIES):
            twin = await self._get(path)
            headers = {"if-match": f'"{twin.get("etag")}"'}
            try:
                answer = await self._api.call(
                    "PATCH", path, query=API_VERSION, body=change, headers=headers, idempotent=True
                )
            except Declined as declined:
                if declined.code != "412":
                    raise
            else:
                return object_of(answer.body, path)
        raise Declined(
            f'Azure IoT Hub: the twin of "{truncate(external_id)}" is being written by others: try again'
        )

    def _wanted(self, twin: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what each component should run, by the twin's desired properties."""
        desired = object_or_empty(object_or_empty(twin.get("properties")).get("desired"))
        found = object_or_empty(desired.get(self._property))
        return {component: entry for component, entry in found.items() if isinstance(entry, dict)}


def _twin(external_id: str) -> str:
    return f"/twins/{segment(external_id)}"


def _usable(twin: dict[str, Any], external_id: str) -> ListedDevice:
    found = device.listed(twin)
    if isinstance(found, FieldError):
        raise Declined(f'Azure IoT Hub: device "{truncate(external_id)}": {found.field} {found.error}')
    return found
