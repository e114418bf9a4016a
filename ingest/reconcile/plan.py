"""The plan of a run: its integration's settings, and its provider, made for the run."""

from dataclasses import dataclass, replace
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handlers.events import SECOND, Micros
from ingest.crypto import Keyring
from ingest.egress.gate import Egress
from ingest.errors import Misconfigured
from ingest.integrations.settings import Unknown, UnknownDevices
from ingest.providers.factory import create_provider
from ingest.providers.mqtt import MqttSide
from ingest.providers.port import Provider
from ingest.providers.retry import Limits
from ingest.providers.settings import ProviderSettings
from ingest.reconcile.keys import decrypt_api_key
from ingest.reconcile.listing import Dating
from ingest.settings import OFFLINE_AFTER_MAX_S, OFFLINE_AFTER_MIN_S, Settings, explained
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.config.integrations import IntegrationRow

NAMED_BY_SERIAL = frozenset(("golioth",))
"""Providers whose name of a device is its serial number: a name that a person gave here is never written there."""


class FleetSettings(BaseModel):
    """What of an integration's `settings` is about its devices. Other keys are the provider's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    unknown_devices: Unknown = UnknownDevices()
    offline_after_s: int | None = Field(None, ge=OFFLINE_AFTER_MIN_S, le=OFFLINE_AFTER_MAX_S)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the devices of one integration are treated."""

    integration_id: UUID
    name: str
    policy: UnknownPolicy
    offline_after: Micros
    dating: Dating
    pushes_names: bool
    fresh_for: Micros
    """How long a complete listing counts as hearing of the devices: two periods and a half."""


def plan_of(row: IntegrationRow, settings: Settings) -> Plan:
    """Return what the row asks for. Raises: Misconfigured, naming the integration and the key."""
    try:
        wanted = FleetSettings.model_validate(row.settings_object)
    except ValidationError as error:
        raise Misconfigured(explained(error, lambda place: f"integration {row.name!r}: {place}")) from None
    return Plan(
        row.id,
        row.name,
        wanted.unknown_devices.within(settings, is_listed=True),
        (wanted.offline_after_s or settings.offline_after_s) * SECOND,
        Dating(int(settings.provider_lag_s * SECOND), int(settings.max_ahead_s * SECOND)),
        row.integration_type not in NAMED_BY_SERIAL,
        int(2.5 * settings.reconcile_every_s * SECOND),
    )


def provider_of(
    row: IntegrationRow,
    keyring: Keyring,
    egress: Egress,
    limits: Limits | None = None,
    mqtt: MqttSide | None = None,
) -> Provider:
    """Return the row's provider, its key decrypted in memory only. Raises: Misconfigured."""
    key = None if row.api_key is None else decrypt_api_key(row.api_key, row.id, keyring)
    settings = ProviderSettings(row.integration_type, row.project_id, row.base_url, key, row.settings_object)
    if row.operator_address == settings.address:
        egress = egress.everywhere()
    settings = replace(settings, egress=egress)
    return create_provider(settings, mqtt=mqtt, limits=limits)
