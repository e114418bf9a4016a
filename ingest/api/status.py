"""Route of a device's live status: its row overlaid with the answer of its provider."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Request, Response

from handlers.events import MAIN, SECOND, Micros
from ingest.api.auth import Caller, Reader
from ingest.api.dependencies import Api, CurrentApi
from ingest.api.devices import Device, existing_device
from ingest.api.live_observations import KnownTimes
from ingest.api.live_status import Answer, Subject
from ingest.api.shapes import ERRORS, json_response
from ingest.api.status_report import (
    CapabilitiesOf,
    ComponentVersion,
    Connection,
    ConnectionState,
    Firmware,
    IntegrationOf,
    StatusReport,
    Telemetry,
)
from ingest.providers.port import Capabilities, ListedDevice
from ingest.store.people import artifacts, deployments, device_details
from ingest.store.people.devices import DeviceWithClocks

router = APIRouter(prefix="/api/devices", tags=["devices"], responses=ERRORS)
QUALITIES = ((-65, "excellent"), (-75, "good"), (-85, "fair"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Details(NamedTuple):
    """Details of a device besides its row."""

    components: list[device_details.ComponentVersion]
    readings: list[device_details.Reading]
    updating: bool
    update_available: bool


@router.get("/{device_id}/status", response_model=StatusReport, operation_id="getDeviceStatus")
async def get_status(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """Return a device's row together with its provider's live answer, in two seconds at most."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        row = await existing_device(connection, caller, device_id)
        components = await device_details.components(connection, caller.organization_id, device_id)
    details, answer = await asyncio.gather(
        _read_details(api, caller, row, components), _ask_provider(api, row, components)
    )
    return json_response(request, _status(row, details, answer, api.dependencies.clock()))


async def _read_details(
    api: Api, caller: Caller, row: DeviceWithClocks, components: list[device_details.ComponentVersion]
) -> Details:
    organization_id, device_id = caller.organization_id, row.id
    installed = {component.component: component.version for component in components}
    if row.firmware_version:
        installed.setdefault(MAIN, row.firmware_version)
    async with api.dependencies.tenants.of(organization_id) as connection:
        readings = await device_details.readings(connection, organization_id, device_id)
        updating = await deployments.in_progress(connection, organization_id, device_id)
        available = row.integration_id is not None and await artifacts.update_available(
            connection, organization_id, row.integration_id, installed
        )
    return Details(components, readings, updating, available)


async def _ask_provider(
    api: Api, row: DeviceWithClocks, components: list[device_details.ComponentVersion]
) -> Answer:
    if row.integration_id is None or row.integration_type is None or row.provider_key is None:
        return Answer(error="the device belongs to no provider that could be asked")
    known = KnownTimes(
        row.online_at,
        row.offline_at,
        row.battery_at,
        row.signal_at,
        {component.component: component.at for component in components},
    )
    return await api.live.ask(Subject(row.integration_id, row.provider_key), known)


def _status(row: DeviceWithClocks, details: Details, answer: Answer, now: Micros) -> StatusReport:
    listed = answer.status.device if answer.status else None
    row = _overlaid(row, listed)
    by_provider = _connected(row.online_at, row.offline_at, listed)
    connected = row.status != "offline" if by_provider is None else by_provider
    status = row.status
    if by_provider is not None and status in ("online", "offline"):
        status = "online" if by_provider else "offline"
    moments = [row.last_seen, row.last_seen_online, row.last_seen_offline]
    known = row.online_at is not None or any(moments) or by_provider is not None
    state: ConnectionState = "connected" if connected else "disconnected" if known else "unknown"
    return StatusReport(
        device=Device.model_validate(row),
        connection_state=state,
        last_activity=max((at for at in moments if at is not None), default=None),
        status=status,
        status_reason=(answer.status.reason if answer.status else None) or _reason(row, connected),
        connection=Connection(
            is_connected=connected,
            last_seen_online=row.last_seen_online,
            last_seen_offline=row.last_seen_offline,
            uptime=_uptime(row, connected, now),
            signal_strength=row.signal_strength,
        ),
        firmware=_firmware(row, details, answer),
        telemetry=_telemetry(row, details),
        integration=_integration(row, answer.capabilities),
        live=answer.status is not None,
        live_error=answer.error,
    )


def _overlaid(row: DeviceWithClocks, listed: ListedDevice | None) -> DeviceWithClocks:
    """Return the row with what the provider knows later, or at all where the row knows nothing."""
    if listed is None:
        return row
    changed: dict[str, Any] = {}
    for field, seen in (("last_seen_online", listed.online_at), ("last_seen_offline", listed.offline_at)):
        at, stored = moment(seen), getattr(row, field)
        changed[field] = at if stored is None or (at and at > stored) else stored
    for field, value, measured_at, known in (
        ("battery_level", listed.battery_level, listed.battery_at, row.battery_at),
        ("signal_strength", listed.signal_strength, listed.signal_at, row.signal_at),
    ):
        stored = getattr(row, field)
        later = value is not None and (stored is None or (measured_at or 0) > (known or 0))
        changed[field] = value if later else stored
    return replace(row, **changed)


def _connected(
    online_at: Micros | None, offline_at: Micros | None, listed: ListedDevice | None
) -> bool | None:
    """Return whether the provider holds it for connected; None where it does not say, or later evidence differs."""
    if listed is None or listed.connected is None:
        return None
    otherwise = offline_at if listed.connected else online_at
    if otherwise is not None and listed.connected_at is not None and otherwise > listed.connected_at:
        return None
    return listed.connected


def _reason(row: DeviceWithClocks, connected: bool) -> str | None:
    if connected or row.last_seen is None:
        return None
    return "nothing was heard for too long" if row.silent_at is not None else "the device went offline"


def _uptime(row: DeviceWithClocks, connected: bool, now: Micros) -> int | None:
    since = row.alive_from if connected else None
    return None if since is None else max(0, (now - since) // SECOND)


def _firmware(row: DeviceWithClocks, details: Details, answer: Answer) -> Firmware:
    versions: dict[str, tuple[str, datetime | None, Micros]] = {
        row.component: (row.version, row.seen_at, row.at) for row in details.components
    }
    if row.firmware_version:
        versions.setdefault(MAIN, (row.firmware_version, None, 0))
    for component, version, at in answer.status.device.firmware if answer.status else ():
        if component not in versions or (at is not None and at > versions[component][2]):
            versions[component] = (version, moment(at), at or 0)
    component = MAIN if MAIN in versions else next(iter(sorted(versions)), MAIN)
    live = answer.status
    return Firmware(
        version=versions[component][0] if component in versions else None,
        component=component,
        component_versions=[
            ComponentVersion(component=name, version=version, seen_at=seen)
            for name, (version, seen, _) in sorted(versions.items())
        ],
        update_available=details.update_available or bool(live and live.update_available),
        update_in_progress=details.updating or bool(live and live.update_in_progress),
    )


def _telemetry(row: DeviceWithClocks, details: Details) -> Telemetry:
    values: Mapping[str, float] = {reading.name.lower(): reading.value for reading in details.readings}
    times = [reading.at for reading in details.readings]
    times += [at for at in (moment(row.battery_at), moment(row.signal_at)) if at is not None]
    signal = row.signal_strength
    quality: Any = None
    if signal is not None:
        quality = next((word for least, word in QUALITIES if signal >= least), "poor")
    return Telemetry(
        battery=row.battery_level,
        battery_level=row.battery_level,
        temperature=values.get("temperature", values.get("temp")),
        signal_quality=quality,
        last_data_received=max(times, default=row.last_seen),
    )


def _integration(row: DeviceWithClocks, found: Capabilities | None) -> IntegrationOf | None:
    if row.integration_type is None:
        return None
    names = CapabilitiesOf.model_fields
    able = CapabilitiesOf(**{name: getattr(found, name) for name in names}) if found else CapabilitiesOf()
    return IntegrationOf(type=row.integration_type, name=row.integration_name, capabilities=able)


def moment(at: Micros | None) -> datetime | None:
    """Return microseconds since 1970 as a time."""
    return None if at is None else EPOCH + timedelta(microseconds=at)
