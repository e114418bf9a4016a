"""Golioth's firmware updates: a deployment is what a whole cohort should run, one artifact a package."""

from typing import Any

from handlers.text import truncate
from ingest.errors import Declined, NotFound, ProviderAway, ProviderThrottled
from ingest.providers.checks import object_of, segment
from ingest.providers.columns import Columns
from ingest.providers.golioth import device
from ingest.providers.http import JsonApi
from ingest.providers.port import Artifact, Deployment, ListedDevice, Progress


class Cohorts:
    """The cohorts of one project. The organization is read from the project once, unless it is given."""

    def __init__(self, api: JsonApi, project_id: str, organization_id: str | None) -> None:
        self._api = api
        self._project_id = project_id
        self._organization_id = organization_id

    async def deploy(
        self, cohort_id: str, artifact: Artifact, component: str, allow_cohort: bool
    ) -> Deployment:
        """Make a deployment of what the cohort has now, with `artifact` in its package's place.

        Raises: NotFound; Declined when the package is not `component`, or the cohort holds other devices and
        `allow_cohort` is False.
        """
        found = await self._artifact(artifact.external_id)
        if found.package != component:
            told = f'is of package "{truncate(found.package)}", not of component "{truncate(component)}"'
            raise Declined(f'Golioth: artifact "{truncate(found.external_id)}" {told}')
        path = f"{await self._cohorts()}/{segment(cohort_id)}"
        cohort = await self._data(path)
        size = await self._size(cohort_id)
        if size > 1 and not allow_cohort:
            told = (
                f"holds {size} devices, and all of them would be updated: say allow_cohort if that is meant"
            )
            raise Declined(f'Golioth: cohort "{truncate(cohort_id)}" {told}')
        artifact_ids = [found.external_id]
        if active := cohort.get("activeDeploymentId"):
            artifact_ids += await self._others(f"{path}/deployments/{segment(str(active))}", found)
        made = await self._create(f"{path}/deployments", _name(found), artifact_ids)
        queued_at = Columns().moment("createdAt", made.get("createdAt"))
        return Deployment(
            deployment_id=str(made["deploymentId"]),
            status="queued",
            artifact_id=found.external_id,
            version=found.version,
            component=component,
            queued_at=queued_at,
            cohort_id=cohort_id,
            cohort_size=size,
        )

    async def progress(self, found: ListedDevice, updating: bool | None, deployment_id: str) -> Progress:
        """Say whether the device runs what was deployed: the artifact that names the deployment, else all of it."""
        if found.cohort_id is None:
            raise NotFound(
                f'Golioth: device "{truncate(found.external_id)}" is in no cohort, so it has no deployment'
            )
        cohort = f"{await self._cohorts()}/{segment(found.cohort_id)}"
        deployment = await self._data(f"{cohort}/deployments/{segment(deployment_id)}")
        running = {(one.component, one.version) for one in found.firmware}
        wanted = [await self._artifact(str(one)) for one in deployment.get("artifactIds") or ()]
        named = [one for one in wanted if _name(one) == deployment.get("name")]
        missing = [one for one in named or wanted if (one.package, one.version) not in running]
        if not missing:
            return Progress("succeeded", "the device runs what was deployed")
        names = ", ".join(map(_name, missing))
        return Progress("in_progress" if updating else "queued", f"the device does not run {names} yet")

    async def _create(self, path: str, name: str, artifact_ids: list[str]) -> dict[str, Any]:
        try:
            answer = await self._api.call("POST", path, body={"name": name, "artifactIds": artifact_ids})
        except ProviderThrottled:
            raise
        except ProviderAway as away:
            raise ProviderAway(
                f"{away}; the deployment may have been made: look before making another"
            ) from None
        made = object_of(object_of(answer.body, path).get("data"), path)
        if not made.get("deploymentId"):
            raise ProviderAway(f"Golioth: {path}: the answer names no deployment")
        return made

    async def _artifact(self, artifact_id: str) -> Artifact:
        path = f"/v1/projects/{segment(self._project_id)}/artifacts/{segment(artifact_id)}"
        found = device.artifact(await self._data(path))
        if found is None:
            raise Declined(f'Golioth: artifact "{truncate(artifact_id)}" has no usable package or version')
        return found

    async def _size(self, cohort_id: str) -> int:
        """Count the cohort's devices by listing two: its own deviceCount is kept up to date later."""
        path = f"/v1/projects/{segment(self._project_id)}/devices"
        query = {"cohortId": cohort_id, "page": 0, "perPage": 2}
        answer = object_of((await self._api.call("GET", path, query=query)).body, path)
        total = str(answer.get("total", ""))
        return max(int(total) if total.isdecimal() and len(total) < 19 else 0, len(answer.get("list") or ()))

    async def _others(self, path: str, replaced: Artifact) -> list[str]:
        """Return the active deployment's artifacts of other packages: a deployment replaces the one before whole."""
        others: list[str] = []
        for artifact_id in (await self._data(path)).get("artifactIds") or ():
            try:
                package = (await self._artifact(str(artifact_id))).package
            except NotFound:
                continue  # deleted meanwhile: it cannot be deployed again
            if package != replaced.package:
                others.append(str(artifact_id))
        return others

    async def _cohorts(self) -> str:
        project = f"/v1/projects/{segment(self._project_id)}"
        if self._organization_id is None:
            organization = (await self._data(project)).get("organizationId")
            if not isinstance(organization, str) or not organization:
                raise Declined(
                    "Golioth: the project names no organization: set organization_id in the settings"
                )
            self._organization_id = organization
        return (
            f"/v1/organizations/{segment(self._organization_id)}/projects/{segment(self._project_id)}/cohorts"
        )

    async def _data(self, path: str) -> dict[str, Any]:
        return object_of(object_of((await self._api.call("GET", path)).body, path).get("data"), path)


def _name(artifact: Artifact) -> str:
    """Return the name of a deployment of this artifact."""
    return f"{artifact.package} {artifact.version}"
