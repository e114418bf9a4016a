"""Firmware: which images there are."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from ingest.api.auth import Reader
from ingest.api.dependencies import CurrentApi
from ingest.api.pages import (
    ERRORS,
    Cursor,
    Limit,
    Shape,
    Text,
    cursor_of,
    json_response,
    page_of,
    place_of,
)
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
    integration: UUID | None = None,
    component: Text | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the images that reconciliation found at the providers."""
    place = place_of(cursor, UUID)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        found = await artifacts.artifacts(
            connection, caller.organization_id, integration, component, place[0] if place else None, limit + 1
        )
    page, last = page_of(found, limit)
    following = cursor_of(last["id"]) if last else None
    shown_ones = [FirmwareArtifact(**row) for row in page]
    return json_response(request, FirmwareArtifacts(artifacts=shown_ones, next_cursor=following))
