"""Golioth as a provider."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from handlers.events import MAIN, FieldError
from handlers.text import truncate
from ingest.errors import Declined, Misconfigured, NotSupported
from ingest.providers.checks import checked_key, object_of, segment
from ingest.providers.golioth import device, firmware
from ingest.providers.golioth.paging import pages
from ingest.providers.golioth.tags import Tags
from ingest.providers.http import JsonApi
from ingest.providers.listing import page_of
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

BASE_URL = "https://api.golioth.io"
FILTERS: Mapping[str, type] = {
    "deviceName": str, "hardwareId": str, "tags": list, "blueprintId": str, "statePath": str, "streamPath": str,
    "updatePath": str, "term": str, "enabled": bool, "cohortId": str,
}  # fmt: skip
"""What the setting `filters` may narrow the listing by. Source: Devices_List."""
CAPABILITIES = Capabilities(
    supports_real_time_status=True,
    supports_update=True,
    updatable=frozenset(("name", "tags", "hardware_ids", "cohort_id", "enabled")),
    supports_firmware_deployment=True,
    deploys_to_cohort=True,
    supports_deployment_progress=True,
    supports_artifacts=True,
    supports_credentials=True,
)
_UPDATE_KEYS = {
    "name": "name",
    "tags": "tagIds",
    "hardware_ids": "hardwareIds",
    "cohort_id": "cohortId",
    "enabled": "enabled",
}


class GoliothProvider:
    """One Golioth project. Its metadata.status is always "-", so presence comes from its times alone."""

    def __init__(self, settings: ProviderSettings, limits: Limits | None = None) -> None:
        key = checked_key(settings.api_key, "Golioth's API key")
        project_id = settings.project("the id of the Golioth project")
        self._project = f"/v1/projects/{segment(project_id)}"
        self._filters = _filters(settings.settings.get("filters") or {})
        headers = {"x-api-key": key}
        self._api = JsonApi(
            "Golioth", settings.base_url or BASE_URL, lambda: headers, lambda: (key,), limits,
            egress=settings.egress, repeats=not settings.names_host,
        )  # fmt: skip
        self._tags = Tags(self._api, self._project)
        self._firmware = firmware.Cohorts(self._api, project_id, settings.text("organization_id"))

    @property
    def capabilities(self) -> Capabilities:
        """What Golioth can do."""
        return CAPABILITIES

    async def test_connection(self) -> Reached:
        """Read the project."""
        answer = object_of((await self._api.call("GET", self._project)).body, self._project)
        project = object_of(answer.get("data"), self._project)
        return Reached(f'Golioth project "{truncate(str(project.get("name") or project.get("id")))}"')

    async def list_devices(self, after: str | None = None) -> AsyncIterator[Page]:
        """List the project's devices; what a changing list can hide for one run: `paging.pages`."""
        self._tags.forget()
        async for page in pages(self._api, f"{self._project}/devices", self._filters, after, _id):
            names = await self._tags.names(page.entries)
            found = (device.listed(raw, names) for raw in page.entries)
            yield page_of(found, set(), page.cursor, page.total)

    async def get_device(self, external_id: str) -> ListedDevice:
        """Return one device. Raises: NotFound."""
        return await self._named(await self._raw(external_id))

    async def get_device_status(self, external_id: str) -> LiveStatus:
        """Return one device as Golioth knows it now. Raises: NotFound."""
        raw = await self._raw(external_id)
        return LiveStatus(
            await self._named(raw),
            update_in_progress=device.update_in_progress(raw),
            update_available=device.update_available(raw),
        )

    async def update_device(self, external_id: str, changes: DeviceChanges) -> ListedDevice:
        """Write the changes; tags that do not exist are made. The name is the serial number.

        Raises: NotFound, NotSupported.
        """
        given = changes.given()
        unknown = sorted(given - CAPABILITIES.updatable)
        if unknown:
            raise NotSupported(f"Golioth devices have no {', '.join(unknown)} that can be written")
        body = {_UPDATE_KEYS[name]: value for name, value in changes._asdict().items() if name in given}
        if not body:
            return await self.get_device(external_id)
        if changes.tags is not None:
            await self._raw(external_id)  # no tag is made for a device that is not there
            body["tagIds"] = await self._tags.ids(changes.tags)
        path = self._path(external_id)
        answer = await self._api.call("PATCH", path, body=body, idempotent=True)
        return await self._named(object_of(object_of(answer.body, path).get("data"), path))

    async def deploy_firmware(
        self, external_id: str, artifact: Artifact, *, component: str = MAIN, allow_cohort: bool = False
    ) -> Deployment:
        """Deploy to the device's cohort. Raises: NotFound; Declined without a cohort, or when it holds others."""
        cohort_id = (await self.get_device(external_id)).cohort_id
        if cohort_id is None:
            told = "is in no cohort, and Golioth deploys to cohorts only: put it into one first"
            raise Declined(f'Golioth: device "{truncate(external_id)}" {told}')
        return await self._firmware.deploy(cohort_id, artifact, component, allow_cohort)

    async def get_progress(self, external_id: str, deployment_id: str) -> Progress:
        """Compare what the device runs with what its cohort's deployment holds. Raises: NotFound."""
        raw = await self._raw(external_id)
        return await self._firmware.progress(_usable(raw, {}), device.update_in_progress(raw), deployment_id)

    async def list_artifacts(self) -> AsyncIterator[Artifact]:
        """List the project's artifacts; those without id, package or version are left out."""
        async for page in pages(self._api, f"{self._project}/artifacts", {}, None, _id):
            for raw in page.entries:
                if (found := device.artifact(raw)) is not None:
                    yield found

    async def list_credentials(self, external_id: str) -> tuple[Credential, ...]:
        """Return a device's credentials. Raises: NotFound."""
        path = f"{self._path(external_id)}/credentials"
        found = object_of((await self._api.call("GET", path)).body, path).get("list") or ()
        return tuple(one for one in map(device.credential, found) if one is not None)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._api.aclose()

    async def _named(self, raw: dict[str, Any]) -> ListedDevice:
        return _usable(raw, await self._tags.names([raw]))

    def _path(self, external_id: str) -> str:
        return f"{self._project}/devices/{segment(external_id)}"

    async def _raw(self, external_id: str) -> dict[str, Any]:
        path = self._path(external_id)
        return object_of(object_of((await self._api.call("GET", path)).body, path).get("data"), path)


def _usable(raw: dict[str, Any], names: Mapping[str, str]) -> ListedDevice:
    found = device.listed(raw, names)
    if isinstance(found, FieldError):
        raise Declined(f"Golioth: a device cannot be used: {found.field} {found.error}")
    return found


def _id(entry: object) -> object:
    return str(entry.get("id")) if isinstance(entry, dict) else None


def _filters(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Misconfigured('golioth: the setting filters must be an object such as {"enabled": true}')
    for name, value in given.items():
        if name not in FILTERS:
            raise Misconfigured(
                f'golioth: filters: "{truncate(str(name))}" is none of {", ".join(sorted(FILTERS))}'
            )
        if not isinstance(value, FILTERS[name]):
            raise Misconfigured(f"golioth: filters: {name} must be a {FILTERS[name].__name__}")
    return dict(given)
