"""AWS IoT Core as a provider."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson

from handlers.events import MAIN, FieldError
from handlers.text import truncate
from ingest.errors import Declined, Misconfigured, NotSupported, ProviderAway
from ingest.providers.aws_iot import device
from ingest.providers.aws_iot.calls import Calls
from ingest.providers.checks import checked_key, checked_url
from ingest.providers.columns import Columns
from ingest.providers.listing import pages
from ingest.providers.port import (
    Artifact,
    Capabilities,
    Credential,
    Deployment,
    DeploymentStatus,
    DeviceChanges,
    ListedDevice,
    LiveStatus,
    Page,
    Progress,
    Reached,
)
from ingest.providers.retry import Limits
from ingest.providers.settings import ProviderSettings

PER_PAGE = 250
"""Of ListThings."""
INDEXED_PER_PAGE = 100
"""Of SearchIndex, which takes no more. Source: its API reference, maxResults."""
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}")
UPDATABLE = frozenset(("name", "tags", "hardware_ids", "metadata"))
STATUSES: dict[str, DeploymentStatus] = {
    "QUEUED": "queued", "IN_PROGRESS": "in_progress", "SUCCEEDED": "succeeded", "FAILED": "failed",
    "TIMED_OUT": "failed", "REJECTED": "failed", "REMOVED": "canceled", "CANCELED": "canceled",
}  # fmt: skip


class AwsIotProvider:
    """The things of one account and region.

    With the setting `fleet_index` (default) the listing is the index `AWS_Things`, which knows connectivity and shadow
    and follows the registry within seconds; without it the registry, which knows neither.
    """

    def __init__(self, settings: ProviderSettings, limits: Limits | None = None) -> None:
        region = settings.text("region")
        if region is None or not REGION.fullmatch(region):
            raise Misconfigured(
                "aws_iot: the setting region is missing or none: enter one such as eu-central-1"
            )
        endpoint_url = checked_url(settings.base_url) if settings.base_url else None
        self._indexed = settings.flag("fleet_index", True)
        self._document = settings.settings.get("job_document") or {}
        if not isinstance(self._document, dict):
            raise Misconfigured(
                "aws_iot: the setting job_document must be an object: it is added to each job's document"
            )
        self._calls = Calls(
            region, endpoint_url, _key(settings.api_key), limits or Limits(), settings.egress,
            repeats=not settings.names_host,
        )  # fmt: skip

    @property
    def capabilities(self) -> Capabilities:
        """What AWS IoT can do; connection states only with the fleet index."""
        return Capabilities(
            supports_real_time_status=self._indexed,
            reports_connection_state=self._indexed,
            supports_update=True,
            updatable=UPDATABLE,
            supports_firmware_deployment=True,
            supports_deployment_progress=True,
        )

    async def test_connection(self) -> Reached:
        """List one thing, from where all will be listed."""
        await self._page(None, 1)
        return Reached(
            "AWS IoT: the fleet index answers" if self._indexed else "AWS IoT: the registry answers"
        )

    def list_devices(self, after: str | None = None) -> AsyncIterator[Page]:
        """List all things. A cursor is AWS' own token, which it forgets after a while: then Declined, begin anew."""
        per_page = INDEXED_PER_PAGE if self._indexed else PER_PAGE
        return pages("AWS IoT", lambda token: self._page(token, per_page), device.listed, after)

    async def get_device(self, external_id: str) -> ListedDevice:
        """Return one thing. Raises: NotFound."""
        thing = await self._thing(external_id)
        if self._indexed:
            query = {
                "indexName": "AWS_Things",
                "queryString": f'thingName:"{thing["thingName"]}"',
                "maxResults": 1,
            }
            found = (await self._calls.call("search_index", "things", **query))["things"]
            # the registry is the truth, and the index a little behind it
            thing = {**(found[0] if found else {}), **thing}
        read = device.listed(thing)
        if isinstance(read, FieldError):
            raise Declined(f'AWS IoT: thing "{truncate(external_id)}": {read.field} {read.error}')
        return read

    async def get_device_status(self, external_id: str) -> LiveStatus:
        """Return one thing with its connection as of now. Raises: NotFound, NotSupported without the fleet index."""
        if not self._indexed:
            raise NotSupported(
                "AWS IoT knows connections through fleet indexing only: set fleet_index to true"
            )
        found = await self.get_device(external_id)
        now = await self._calls.call("get_thing_connectivity_data", "connected", thingName=external_id)
        columns = Columns()
        found = device.connected(found, now, columns)
        return LiveStatus(found._replace(problems=found.problems + columns.problems), _reason(now))

    async def update_device(self, external_id: str, changes: DeviceChanges) -> ListedDevice:
        """Write attributes. Raises: NotFound, NotSupported, Declined for characters that AWS does not take."""
        unknown = sorted(changes.given() - UPDATABLE)
        if unknown:
            raise NotSupported(f"AWS IoT things have no {', '.join(unknown)} that can be written")
        payload = {"attributes": device.attributes(changes), "merge": True}
        if payload["attributes"]:
            await self._calls.call("update_thing", thingName=external_id, attributePayload=payload)
        return await self.get_device(external_id)

    async def deploy_firmware(
        self, external_id: str, artifact: Artifact, *, component: str = MAIN, allow_cohort: bool = False
    ) -> Deployment:
        """Make a job for this thing alone; its document names component, version and artifact. Raises: NotFound."""
        thing = await self._thing(external_id)
        told = {"operation": "firmware", "component": component, "version": artifact.version}
        document = {**told, "artifact": artifact.external_id, **self._document}
        job_id = f"rollcall-{uuid4()}"
        try:
            await self._calls.call(
                "create_job",
                "jobId",
                jobId=job_id,
                targets=[thing["thingArn"]],
                document=orjson.dumps(document).decode(),
                targetSelection="SNAPSHOT",
            )
        except Declined as declined:
            # an attempt before this one made it, and its answer was lost
            if declined.code != "ResourceAlreadyExistsException":
                raise
        return Deployment(job_id, "queued", artifact.external_id, artifact.version, component)

    async def get_progress(self, external_id: str, deployment_id: str) -> Progress:
        """Return the state of the job on this thing. Raises: NotFound."""
        answer = await self._calls.call(
            "describe_job_execution", "execution", jobId=deployment_id, thingName=external_id
        )
        execution: dict[str, Any] = answer["execution"]
        status = str(execution.get("status"))
        if status not in STATUSES:
            raise ProviderAway(
                f"AWS IoT: job {truncate(deployment_id)} is in an unknown state: {truncate(status)}"
            )
        at = device.moment(Columns(), "lastUpdatedAt", execution.get("lastUpdatedAt"))
        return Progress(STATUSES[status], status, at)

    def list_artifacts(self) -> AsyncIterator[Artifact]:
        """Raise NotSupported: a job's document names the image, and AWS keeps no list of them."""
        raise NotSupported("AWS IoT keeps no list of firmware images: name the artifact yourself")

    async def list_credentials(self, external_id: str) -> tuple[Credential, ...]:
        """Raise NotSupported: AWS never shows a private key again."""
        raise NotSupported("AWS IoT shows no device's secrets")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._calls.aclose()

    async def _page(self, token: str | None, count: int) -> tuple[list[Any], str | None]:
        query: dict[str, Any] = {"maxResults": count, **({"nextToken": token} if token else {})}
        if self._indexed:
            answer = await self._calls.call(
                "search_index", "things", indexName="AWS_Things", queryString="*", **query
            )
        else:
            answer = await self._calls.call("list_things", "things", **query)
        return answer["things"], answer.get("nextToken") or None

    async def _thing(self, external_id: str) -> dict[str, Any]:
        return await self._calls.call("describe_thing", "thingName", thingName=external_id)


def _reason(connectivity: dict[str, Any]) -> str | None:
    reason = connectivity.get("disconnectReason")
    return str(reason) if reason and reason != "NONE" else None


def _key(api_key: str | None) -> tuple[str, str, str | None]:
    """Split `ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]`. Keys of the machine itself are never used."""
    parts = checked_key(api_key, "AWS' access key").split(":", 2)
    if len(parts) < 2 or not all(parts):
        raise Misconfigured(
            "aws_iot: the key must have the form ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]"
        )
    return parts[0], parts[1], parts[2] if len(parts) > 2 else None
