"""Shapes of the answer of GET /api/devices/{device_id}/status."""

from datetime import datetime
from typing import Literal

from ingest.api.devices import Device, Status
from ingest.api.shapes import Shape

ConnectionState = Literal["connected", "disconnected", "unknown"]


class Connection(Shape):
    """The connection of the device. `uptime` in seconds, `signalStrength` in dBm."""

    is_connected: bool
    last_seen_online: datetime | None
    last_seen_offline: datetime | None
    uptime: int | None
    signal_strength: int | None


class ComponentVersion(Shape):
    """A version that a component runs."""

    component: str
    version: str
    seen_at: datetime | None


class Firmware(Shape):
    """The firmware on the device. `version` is that of `component`."""

    version: str | None
    component: str
    component_versions: list[ComponentVersion]
    update_available: bool
    update_in_progress: bool


class Telemetry(Shape):
    """The newest values. `battery` and `batteryLevel` in percent, `temperature` as the device sends it."""

    battery: int | None
    battery_level: int | None
    temperature: float | None
    signal_quality: Literal["excellent", "good", "fair", "poor"] | None
    last_data_received: datetime | None


class CapabilitiesOf(Shape):
    """Capabilities of the device's provider."""

    supports_real_time_status: bool = False
    reports_connection_state: bool = False
    supports_update: bool = False
    supports_firmware_deployment: bool = False
    deploys_to_cohort: bool = False
    supports_deployment_progress: bool = False
    supports_artifacts: bool = False
    supports_credentials: bool = False


class IntegrationOf(Shape):
    """By which integration the device is known."""

    type: str
    name: str
    capabilities: CapabilitiesOf


class StatusReport(Shape):
    """A device now. `live` is false where only the row could be had, and `liveError` says why."""

    device: Device
    connection_state: ConnectionState
    last_activity: datetime | None
    status: Status
    status_reason: str | None
    connection: Connection
    firmware: Firmware
    telemetry: Telemetry
    integration: IntegrationOf | None
    live: bool
    live_error: str | None
