"""Routes of firmware images: the list."""

from datetime import datetime
from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response

from ingest.api.auth import Reader
from ingest.api.dependencies import CurrentApi
from ingest.api.paging import Page, paged
from ingest.api.shapes import ERRORS, Shape, Text
from ingest.store.people import artifacts

router = APIRouter(prefix="/api", tags=["firmware"], responses=ERRORS)


class FirmwareArtifact(Shape):
    """An image that can be deployed."""

    id: UUID
    integration_id: UUID | None
    external_artifact_id: str | None
    package_name: str | None
    version: str | None
    component_type: str | None
    size_bytes: int | None
    checksum_sha256: str | None
    release_date: datetime | None


class FirmwareArtifacts(Shape):
    """A page of images."""

    artifacts: list[FirmwareArtifact]
    next_cursor: str | None


@router.get("/firmware/artifacts", response_model=FirmwareArtifacts, operation_id="listArtifacts")
async def list_artifacts(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    page: Page,
    integration: UUID | None = None,
    component: Text | None = None,
) -> Response:
    """List the images that reconciliation found at the providers."""
    query = partial(artifacts.artifacts, integration_id=integration, component=component)
    return await paged(api, caller, request, page, FirmwareArtifacts, (UUID,), query)
