"""The port: what can be asked of a provider, and what it answers, whichever cloud it is.

Times are microseconds UTC by the provider's own clock; None where it gives none, never the time of the request. A
device that a provider lists is not therefore online: only a time of its own is evidence. Values fit the columns; what
did not is missing and named in `problems`.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from handlers.events import MAIN, FieldError, Micros


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do. A method behind a False raises NotSupported."""

    supports_real_time_status: bool = False
    """get_device_status asks the provider now, and not a table of ours."""
    reports_connection_state: bool = False
    """`connected` is known; else presence comes from times alone."""
    supports_update: bool = False
    updatable: frozenset[str] = frozenset()
    """The fields of `DeviceChanges` that update_device takes."""
    supports_firmware_deployment: bool = False
    deploys_to_cohort: bool = False
    """Firmware goes to a device's whole cohort, never to one device."""
    supports_deployment_progress: bool = False
    supports_artifacts: bool = False
    supports_credentials: bool = False


class Installed(NamedTuple):
    """A firmware version on a device; `at` is when the device or the provider says that it was so."""

    component: str
    version: str
    at: Micros | None = None


class ListedDevice(NamedTuple):
    """What a provider knows of one device: battery_level in percent, signal_strength in dBm.

    `online_at` and `offline_at` are the newest times at which it was seen so. `connected` is the state that the
    provider holds, `connected_at` since when. `golioth_status` is enabled, disabled or suspended, from Golioth only.
    """

    external_id: str
    name: str | None = None
    serial_number: str | None = None
    hardware_ids: tuple[str, ...] = ()
    cohort_id: str | None = None
    golioth_status: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    online_at: Micros | None = None
    offline_at: Micros | None = None
    connected: bool | None = None
    connected_at: Micros | None = None
    battery_level: int | None = None
    battery_at: Micros | None = None
    signal_strength: int | None = None
    signal_at: Micros | None = None
    firmware: tuple[Installed, ...] = ()
    updated_at: Micros | None = None
    problems: tuple[FieldError, ...] = ()


class Page(NamedTuple):
    """A part of a listing, possibly empty. `cursor` resumes after it; None on the last page.

    `problems` names entries that cannot be used at all, because their id cannot.
    """

    devices: tuple[ListedDevice, ...]
    cursor: str | None
    total: int | None = None
    problems: tuple[FieldError, ...] = ()


class LiveStatus(NamedTuple):
    """A device as the provider knows it now. `reason` is why it is in its connection state, in the provider's word."""

    device: ListedDevice
    reason: str | None = None
    update_in_progress: bool | None = None
    update_available: bool | None = None


class Artifact(NamedTuple):
    """A firmware image at the provider: one version of one package."""

    external_id: str
    package: str
    version: str
    size_bytes: int | None = None
    checksum_sha256: str | None = None
    released_at: Micros | None = None
    metadata: Mapping[str, Any] = {}


DeploymentStatus = Literal["queued", "in_progress", "succeeded", "failed", "canceled"]


class Deployment(NamedTuple):
    """A firmware update under way. `cohort_id` is set where the whole cohort gets it, `cohort_size` devices."""

    deployment_id: str
    status: DeploymentStatus
    artifact_id: str
    version: str
    component: str
    queued_at: Micros | None = None
    cohort_id: str | None = None
    cohort_size: int | None = None


class Progress(NamedTuple):
    """How far a deployment is on one device. `detail` is the provider's own word."""

    status: DeploymentStatus
    detail: str
    at: Micros | None = None


class DeviceChanges(NamedTuple):
    """What to write to a provider; None leaves a field alone. `metadata` is merged key by key, None removes a key."""

    name: str | None = None
    tags: tuple[str, ...] | None = None
    hardware_ids: tuple[str, ...] | None = None
    cohort_id: str | None = None
    enabled: bool | None = None
    metadata: Mapping[str, Any] | None = None

    def given(self) -> frozenset[str]:
        """Return the names of the fields to write."""
        return frozenset(name for name, value in self._asdict().items() if value is not None)


@dataclass(frozen=True, slots=True)
class Credential:
    """A device's credential at the provider. The secret is in no repr."""

    external_id: str
    credential_type: str
    identity: str
    secret: str | None = field(default=None, repr=False)
    created_at: Micros | None = None


class Reached(NamedTuple):
    """The provider answered and accepted our key; `detail` is for people."""

    detail: str


class Provider(Protocol):
    """One integration's provider. Every method ends in bounded time.

    All raise: ProviderAway (try again later; ProviderThrottled: not before retry_after_s), ProviderRefused (a person
    must act), Declined (NotFound, NotSupported, or the provider finds the request wrong).
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this provider can do; known without asking it."""

    async def test_connection(self) -> Reached:
        """Ask for the least that shows address, key and rights to be right."""

    def list_devices(self, after: str | None = None) -> AsyncIterator[Page]:
        """List all devices, page by page, each device once; `after` is the cursor of the last page that is done."""

    async def get_device(self, external_id: str) -> ListedDevice:
        """Return one device. Raises: NotFound."""

    async def get_device_status(self, external_id: str) -> LiveStatus:
        """Return one device as it is now. Raises: NotFound, NotSupported."""

    async def update_device(self, external_id: str, changes: DeviceChanges) -> ListedDevice:
        """Write `changes` and return the device after them. Raises: NotFound, NotSupported naming the field."""

    async def deploy_firmware(
        self, external_id: str, artifact: Artifact, *, component: str = MAIN, allow_cohort: bool = False
    ) -> Deployment:
        """Start an update. Raises: NotFound, NotSupported, Declined when others would get it too (`allow_cohort`)."""

    async def get_progress(self, external_id: str, deployment_id: str) -> Progress:
        """Return how far a deployment is on this device. Raises: NotFound, NotSupported."""

    def list_artifacts(self) -> AsyncIterator[Artifact]:
        """List the firmware images at the provider. Raises: NotSupported."""

    async def list_credentials(self, external_id: str) -> tuple[Credential, ...]:
        """Return a device's credentials, with their secrets. Raises: NotFound, NotSupported."""

    async def aclose(self) -> None:
        """Close all connections."""
