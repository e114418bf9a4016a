"""GET /api/devices, one device, its timeline and its firmware history."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from ingest.api.auth import Reader
from ingest.api.dependencies import CurrentApi
from ingest.api.error_handlers import not_found
from ingest.api.pages import ERRORS, Cursor, Limit, Shape, Text, cursor_of, json_response, page_of, place_of
from ingest.problems import Problem
from ingest.store.people import fleet

router = APIRouter(prefix="/api/devices", tags=["devices"], responses=ERRORS)
Status = Literal["online", "offline", "warning", "error"]
Sort = Literal["name", "-name", "lastSeen", "-lastSeen", "createdAt", "-createdAt"]


class Device(Shape):
    """A row of the fleet. Times are UTC; battery in percent, signal strength in dBm."""

    id: UUID
    name: str
    external_device_id: str | None
    serial_number: str | None
    hardware_ids: list[str] | None
    device_type: str
    model: str | None
    integration_id: UUID | None
    location_id: UUID | None
    department_id: UUID | None
    cohort_id: str | None
    golioth_status: str | None
    status: Status
    last_seen: datetime | None
    last_seen_online: datetime | None
    last_seen_offline: datetime | None
    battery_level: int | None
    signal_strength: int | None
    firmware_version: str | None
    metadata: Any
    created_at: datetime | None
    updated_at: datetime | None


class Devices(Shape):
    """A page of devices."""

    devices: list[Device]
    next_cursor: str | None


class Transition(Shape):
    """Something that changed. `retractedAt` is set where later evidence showed that it was not so."""

    at: datetime
    kind: str
    component: str
    source: str
    recorded_at: datetime
    retracted_at: datetime | None
    detail: dict[str, Any]


class Timeline(Shape):
    """A page of the timeline, newest first."""

    events: list[Transition]
    next_cursor: str | None


class UnusedField(Shape):
    """A field that could not be used: the newest value that it had, why, and when its message was received."""

    field: str
    value: str
    reason: str
    at: datetime


class FieldErrors(Shape):
    """The newest error of each field of a device, at most 32."""

    errors: list[UnusedField]


class Install(Shape):
    """A version on a component, and since when."""

    id: UUID
    version: str
    component: str
    installed_at: datetime
    source: str


class FirmwareHistory(Shape):
    """A page of the firmware history, newest first."""

    history: list[Install]
    next_cursor: str | None


@router.get("", response_model=Devices, operation_id="listDevices")
async def list_devices(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    status: Status | None = None,
    firmware: Text | None = None,
    cohort: Text | None = None,
    integration: UUID | None = None,
    text: Annotated[
        Text | None, Query(description="In name, serial number, external or hardware id.")
    ] = None,
    sort: Sort = "name",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List devices."""
    place = place_of(cursor, str, str, UUID)
    if place is not None and place[0] != sort:
        raise Problem(422, f"the cursor is of a list sorted by {place[0][:20]}")
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        found = await fleet.devices(
            connection,
            caller.organization_id,
            fleet.Filter(status, firmware, cohort, integration, text),
            sort=sort.removeprefix("-"),
            descending=sort.startswith("-"),
            after=fleet.Place(*place[1:]) if place else None,
            limit=limit + 1,
        )
    page, last = page_of(found, limit)
    following = cursor_of(sort, last["key"], last["id"]) if last else None
    return json_response(request, Devices(devices=[Device(**row) for row in page], next_cursor=following))


@router.get("/{device_id}", response_model=Device, operation_id="getDevice")
async def get_device(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """Return one device."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        row = await fleet.device(connection, caller.organization_id, device_id)
    if row is None:
        raise not_found("device")
    return json_response(request, Device(**row))


@router.get("/{device_id}/timeline", response_model=Timeline, operation_id="getTimeline")
async def get_timeline(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    device_id: UUID,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return what happened to a device: online, offline, firmware, conflicts, deployments."""
    place = place_of(cursor, datetime, str)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        if await fleet.device(connection, caller.organization_id, device_id) is None:
            raise not_found("device")
        found = await fleet.timeline(connection, caller.organization_id, device_id, place, limit + 1)
    page, last = page_of(found, limit)
    following = cursor_of(last["at"], last["key"]) if last else None
    return json_response(request, Timeline(events=[Transition(**row) for row in page], next_cursor=following))


@router.get("/{device_id}/firmware", response_model=FirmwareHistory, operation_id="getFirmwareHistory")
async def get_firmware_history(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    device_id: UUID,
    component: Annotated[Text | None, Query(description="Only of this component.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return which versions a device ran, per component."""
    place = place_of(cursor, datetime, UUID)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        if await fleet.device(connection, caller.organization_id, device_id) is None:
            raise not_found("device")
        found = await fleet.firmware_history(
            connection, caller.organization_id, device_id, component, place, limit + 1
        )
    page, last = page_of(found, limit)
    following = cursor_of(last["installed_at"], last["id"]) if last else None
    return json_response(
        request, FirmwareHistory(history=[Install(**row) for row in page], next_cursor=following)
    )


@router.get("/{device_id}/field-errors", response_model=FieldErrors, operation_id="getFieldErrors")
async def get_field_errors(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """Return which fields of a device's messages could not be used, and why; kept for 30 days."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        if await fleet.device(connection, caller.organization_id, device_id) is None:
            raise not_found("device")
        found = await fleet.field_errors(connection, caller.organization_id, device_id)
    return json_response(request, FieldErrors(errors=[UnusedField(**row) for row in found]))
