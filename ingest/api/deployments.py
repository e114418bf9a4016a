"""Routes of deployments: give firmware to a device through its provider, and list those of a device."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from handlers.events import MAIN, MAX_COMPONENT, MAX_VERSION
from handlers.text import clipped, truncate
from ingest.api.auth import Caller, Operator, Reader
from ingest.api.dependencies import Api, CurrentApi
from ingest.api.devices import existing_device
from ingest.api.idempotency import Key, idempotent
from ingest.api.shapes import ERRORS, Asked, Flag, Shape, Text, json_response
from ingest.errors import Refused, RollcallError
from ingest.problems import Problem
from ingest.providers.port import Artifact, Deployment, Provider
from ingest.store.people import artifacts, deployments, device_details
from ingest.store.people.artifacts import StoredArtifact

router = APIRouter(prefix="/api", tags=["firmware"], responses=ERRORS)
State = Literal["queued", "in_progress", "succeeded", "failed", "cancelled"]


class Deploy(Asked):
    """A deployment to make. `allowCohort`: all of the cohort is meant, where the provider deploys to no less."""

    artifact_id: UUID
    component_type: Annotated[Text | None, Field(max_length=MAX_COMPONENT)] = None
    allow_cohort: Flag = False


class Deployed(Shape):
    """A deployment that is under way. `cohortId` is set where the whole cohort gets it."""

    deployment_id: UUID
    status: State
    artifact_id: UUID
    version: str
    queued_at: datetime
    cohort_id: str | None = None
    cohort_size: int | None = None


class DeploymentState(Deployed):
    """A deployment and how far it is."""

    component: str
    deadline_at: datetime
    finished_at: datetime | None
    detail: str
    requested_by: str


class DeploymentStates(Shape):
    """The newest deployments of a device."""

    deployments: list[DeploymentState]


@router.get(
    "/devices/{device_id}/deployments", response_model=DeploymentStates, operation_id="listDeployments"
)
async def list_deployments(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    device_id: UUID,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """List a device's deployments, newest first."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        await existing_device(connection, caller, device_id)
        found = await deployments.of_device(connection, caller.organization_id, device_id, limit)
    return json_response(request, DeploymentStates.model_validate({"deployments": found}))


@router.post(
    "/devices/{device_id}/deploy-firmware",
    response_model=Deployed,
    status_code=202,
    operation_id="deployFirmware",
)
async def deploy_firmware(
    request: Request, api: CurrentApi, caller: Operator, device_id: UUID, asked: Deploy, key: Key = None
) -> Response:
    """Ask the provider to update a device. One deployment at a time: 409 while another is under way."""
    return await idempotent(
        api, caller, request, key, lambda: _deploy(api, caller, request, device_id, asked)
    )


class _Order(NamedTuple):
    """A deployment that can be made: who the device is to its provider, the image, and what the device runs."""

    integration_id: UUID
    provider_key: str
    cohort_id: str | None
    image: StoredArtifact
    version: str
    running: dict[str, str]


async def _deploy(api: Api, caller: Caller, request: Request, device_id: UUID, asked: Deploy) -> Response:
    order = await _order(api, caller, device_id, asked)
    image = order.image
    component = asked.component_type or image.component_type or image.package_name or MAIN
    provider = await api.dependencies.providers(order.integration_id)
    if not provider.capabilities.supports_firmware_deployment:
        raise Problem(409, "the device's provider cannot deploy firmware")
    cohort = order.cohort_id if provider.capabilities.deploys_to_cohort else None
    wanted = deployments.Wanted(
        uuid4(), device_id, order.integration_id, image.id, component, order.version,
        order.running.get(component), cohort, caller.name,
    )  # fmt: skip
    row = await _queue(api, caller, wanted)
    made = await _give(api, caller, provider, order, wanted, asked.allow_cohort)
    deployed = Deployed(
        deployment_id=wanted.id,
        status=row.status,
        artifact_id=wanted.artifact_id,
        version=wanted.version,
        queued_at=row.queued_at,
        cohort_id=made.cohort_id,
        cohort_size=made.cohort_size,
    )
    return json_response(request, deployed, status=202)


async def _order(api: Api, caller: Caller, device_id: UUID, asked: Deploy) -> _Order:
    """Return what to deploy where. Raises: Problem."""
    organization_id = caller.organization_id
    async with api.dependencies.tenants.of(organization_id) as connection:
        device = await existing_device(connection, caller, device_id)
        image = await artifacts.artifact(connection, organization_id, asked.artifact_id)
        components = await device_details.components(connection, organization_id, device_id)
    if image is None:
        raise Problem(422, "artifactId: there is no such firmware artifact")
    if device.integration_id is None or device.integration_type is None or device.provider_key is None:
        raise Problem(409, "the device belongs to no integration that could update it")
    if image.integration_id not in (None, device.integration_id):
        raise Problem(422, "artifactId: the artifact is of another integration than the device")
    if not image.version or len(image.version) > MAX_VERSION:
        raise Problem(422, "artifactId: the artifact has no usable version")
    running = {row.component: row.version for row in components}
    return _Order(device.integration_id, device.provider_key, device.cohort_id, image, image.version, running)


def _artifact(order: _Order) -> Artifact:
    image = order.image
    return Artifact(
        image.external_artifact_id or str(image.id),
        image.package_name or image.component_type or MAIN,
        order.version,
        image.size_bytes,
        image.checksum_sha256,
        metadata=image.metadata,
    )


async def _queue(api: Api, caller: Caller, wanted: deployments.Wanted) -> deployments.Deployment:
    try:
        async with api.dependencies.tenants.of(caller.organization_id) as connection:
            deadline_s = api.dependencies.settings.api_deployment_deadline_s
            return await deployments.queue(connection, caller.organization_id, wanted, deadline_s)
    except Refused as refused:
        if refused.sqlstate != "23505":
            raise
        raise Problem(409, "another deployment to this device or its cohort is under way") from None


async def _give(
    api: Api,
    caller: Caller,
    provider: Provider,
    order: _Order,
    wanted: deployments.Wanted,
    allow_cohort: bool,
) -> Deployment:
    """Give it to the provider; what the provider refuses has failed. Raises: the errors of the provider."""
    try:
        made = await provider.deploy_firmware(
            order.provider_key, _artifact(order), component=wanted.component, allow_cohort=allow_cohort
        )
    except RollcallError as error:
        async with api.dependencies.tenants.of(caller.organization_id) as connection:
            await deployments.end(
                connection, caller.organization_id, wanted.id, "failed", clipped(str(error))
            )
        raise
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        await deployments.record_provider(
            connection,
            caller.organization_id,
            wanted.id,
            provider_id=truncate(made.deployment_id, 255),
            cohort_id=made.cohort_id,
            cohort_size=made.cohort_size,
        )
    return made
