"""Routes of devices: the list, one device, its timeline, its firmware history and its unusable fields."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from ingest.api.auth import Caller, Reader
from ingest.api.dependencies import CurrentApi
from ingest.api.error_handlers import not_found
from ingest.api.paging import Connection, Listed, ListQuery, Page, paged
from ingest.api.shapes import ERRORS, Shape, Text, json_response
from ingest.store.people import device_details, devices

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
    page: Page,
    status: Status | None = None,
    firmware: Text | None = None,
    cohort: Text | None = None,
    integration: UUID | None = None,
    text: Annotated[
        Text | None, Query(description="In name, serial number, external or hardware id.")
    ] = None,
    sort: Sort = "name",
) -> Response:
    """List devices."""
    wanted = devices.Filter(status, firmware, cohort, integration, text)
    query = partial(
        devices.devices, wanted=wanted, sort=sort.removeprefix("-"), descending=sort.startswith("-")
    )
    return await paged(api, caller, request, page, Devices, (str, UUID), query, sort=sort)


@router.get("/{device_id}", response_model=Device, operation_id="getDevice")
async def get_device(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """Return one device."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        row = await existing_device(connection, caller, device_id)
    return json_response(request, Device.model_validate(row))


@router.get("/{device_id}/timeline", response_model=Timeline, operation_id="getTimeline")
async def get_timeline(
    request: Request, api: CurrentApi, caller: Reader, page: Page, device_id: UUID
) -> Response:
    """Return what happened to a device: online, offline, firmware, conflicts, deployments."""
    query = _of_device(device_details.timeline, caller, device_id)
    return await paged(api, caller, request, page, Timeline, (datetime, str), query)


@router.get("/{device_id}/firmware", response_model=FirmwareHistory, operation_id="getFirmwareHistory")
async def get_firmware_history(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    page: Page,
    device_id: UUID,
    component: Annotated[Text | None, Query(description="Only of this component.")] = None,
) -> Response:
    """Return which versions a device ran, per component."""
    history = partial(device_details.firmware_history, component=component)
    query = _of_device(history, caller, device_id)
    return await paged(api, caller, request, page, FirmwareHistory, (datetime, UUID), query)


@router.get("/{device_id}/field-errors", response_model=FieldErrors, operation_id="getFieldErrors")
async def get_field_errors(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """Return which fields of a device's messages could not be used, and why; kept for 30 days."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        await existing_device(connection, caller, device_id)
        found = await device_details.field_errors(connection, caller.organization_id, device_id)
    return json_response(request, FieldErrors.model_validate({"errors": found}))


async def existing_device(
    connection: Connection, caller: Caller, device_id: UUID
) -> devices.DeviceWithClocks:
    """Return one of the caller's devices. Raises: Problem where it has none with this id."""
    row = await devices.device(connection, caller.organization_id, device_id)
    if row is None:
        raise not_found("device")
    return row


def _of_device(
    query: Callable[..., Awaitable[Sequence[Listed]]], caller: Caller, device_id: UUID
) -> ListQuery:
    """Return the query for one of the caller's devices; it raises Problem where there is none with this id."""

    async def checked(
        connection: Connection, organization: UUID, *, after: Any, limit: int
    ) -> Sequence[Listed]:
        await existing_device(connection, caller, device_id)
        return await query(connection, organization, device_id=device_id, after=after, limit=limit)

    return checked
