"""Settings of an integration, from its row: how to reach its broker, and what its devices may do."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from handlers.paths import check
from handlers.words import Words, vocabulary
from ingest.errors import Misconfigured
from ingest.settings import OFFLINE_AFTER_MAX_S, OFFLINE_AFTER_MIN_S, Settings, explained
from ingest.store.commit.creation import UnknownPolicy

_Model = TypeVar("_Model", bound=BaseModel)
Protocol = Literal["5", "3.1.1", "auto", "jetstream"]
LONGEST = 16_000
"""Characters of what goes into a CONNECT: MQTT has room for 65,535 bytes, and a character has up to four."""
MAX_PRESENCE_WORDS = 64


MAX_PEM = 256 * 1024
"""Characters of one PEM text, or of a creds file's."""
Text = Annotated[SecretStr, Field(min_length=1, max_length=MAX_PEM)]
"""As stored: encrypted, or in the clear where somebody wrote it by hand."""


class TlsSettings(BaseModel):
    """TLS to the broker, as PEM texts or as files below ROLLCALL_FILES; without a CA the system's store decides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ca: Text | None = None
    cert: Text | None = None
    key: Text | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_host: bool = True

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _is_a_file_name(cls, value: str | None) -> str | None:
        if value is not None and not PurePath(value).name:
            raise ValueError("the path of a PEM file")
        return value


class UnknownDevices(BaseModel):
    """What happens to an id that has no row."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    policy: Literal["create", "park", "ignore"] = "create"
    max_per_minute: int = Field(6_000, ge=0)
    max_total: int = Field(100_000, ge=0)
    max_parked: int = Field(10_000, ge=0)

    def within(self, ceilings: Settings, *, is_proved: bool = True, is_listed: bool = False) -> UnknownPolicy:
        """Return the policy, with no cap above the operator's.

        `is_proved`: whoever names a device has proved who it is, so the id may mean rows of other integrations.
        `is_listed`: a provider lists the devices, which nobody can invent, so only the cap on all of them holds.
        """
        max_total = min(self.max_total, ceilings.max_created)
        return UnknownPolicy(
            self.policy,
            max_total if is_listed else min(self.max_per_minute, ceilings.max_created_per_minute),
            max_total,
            min(self.max_parked, ceilings.max_parked),
            matches_others=is_proved,
        )


def _policy_may_be_a_word(value: object) -> object:
    return {"policy": value} if isinstance(value, str) else value


Unknown = Annotated[UnknownDevices, BeforeValidator(_policy_may_be_a_word)]


def _leading_somewhere(paths: dict[str, str]) -> dict[str, str]:
    check(paths)
    return paths


class PresenceWords(BaseModel):
    """Further words of an integration's devices for online and offline; they win over the usual ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    online: tuple[str, ...] = Field((), max_length=MAX_PRESENCE_WORDS)
    offline: tuple[str, ...] = Field((), max_length=MAX_PRESENCE_WORDS)

    @field_validator("online", "offline", mode="before")
    @classmethod
    def _one_may_be_text(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _are_words(self) -> Self:
        vocabulary(self.online, self.offline)
        return self

    @property
    def words(self) -> Words:
        """All words that count for the integration."""
        return vocabulary(self.online, self.offline)


FieldPathsSetting = Annotated[dict[str, str], AfterValidator(_leading_somewhere)]
MaxBehind = Annotated[int, Field(ge=3_600, le=315_360_000)]
"""Seconds: an hour to ten years."""
MAX_BEHIND_S = 31 * 86_400
OfflineAfter = Annotated[int, Field(ge=OFFLINE_AFTER_MIN_S, le=OFFLINE_AFTER_MAX_S)]


class WebhookSettings(BaseModel):
    """What webhooks need of the `settings` of a device_integrations row, beside `webhook` itself (ingest/webhooks)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    field_paths: FieldPathsSetting = Field(default_factory=dict)
    presence_words: PresenceWords = PresenceWords()
    unknown_devices: Unknown = UnknownDevices()
    liveness: Literal["receipt", "event_time"] = "receipt"
    max_behind_s: MaxBehind = MAX_BEHIND_S
    """A device's time further behind its receipt than this is not used."""
    offline_after_s: OfflineAfter | None = None


def _host(value: str) -> str:
    """Refuse what a resolver cannot even ask for: its error would be of no kind that a connection expects.

    A URL, or what stands before an @, may hold a password, and hosts are shown: it is not repeated either.
    """
    if any(one in value for one in "@/?#") or any(one.isspace() for one in value):
        raise ValueError("a host name alone, without user, password, scheme, path or blank")
    try:
        value.encode("idna")
    except UnicodeError:
        raise ValueError("a host name: labels of 1 to 63 characters with dots between") from None
    return value


def _server(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not 1 <= int(port) <= 65_535:
        raise ValueError("a port from 1 to 65535")
    _host(host)
    return value


Host = Annotated[str, AfterValidator(_host)]
Server = Annotated[str, Field(pattern=r"^[^\s/@]+:[0-9]{1,5}$"), AfterValidator(_server)]


class NatsSettings(BaseModel):
    """What `protocol: "jetstream"` needs beside host, tls, username and password (docs/nats.md)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    servers: tuple[Server, ...] = ()
    """host:port of some or all servers of the cluster; without any, the setting host at port 4222."""
    creds: Text | None = None
    nkey: Text | None = None
    creds_file: str | None = None
    """Files below ROLLCALL_FILES, in the place of the texts."""
    nkey_file: str | None = None
    ack_wait_s: float = Field(30, ge=1, le=3_600)
    qos_0: bool = True


class MqttSettings(BaseModel):
    """The `settings` of a device_integrations row of type mqtt. Unknown keys are somebody else's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: Host = Field("127.0.0.1", min_length=1)
    port: int = Field(1883, ge=1, le=65_535)
    tls: TlsSettings | None = None
    username: str | None = Field(None, max_length=LONGEST)
    password: SecretStr | None = None
    """As stored: encrypted, or in the clear where somebody wrote it by hand."""
    protocol: Protocol = "auto"
    client_id: str = Field("rollcall", min_length=1, max_length=LONGEST)
    """The prefix of the client id."""
    slots: int = Field(1, ge=1, le=32)
    """Sessions that share the telemetry, over all replicas; 1: one session reads everything."""
    topics: dict[str, Any] | None = None
    dialect: str = "plain"
    field_paths: FieldPathsSetting = Field(default_factory=dict)
    presence_words: PresenceWords = PresenceWords()
    unknown_devices: Unknown = UnknownDevices()
    liveness: Literal["receipt", "event_time"] = "receipt"
    max_behind_s: MaxBehind = MAX_BEHIND_S
    """A device's time further behind its receipt than this is not used."""
    offline_after_s: OfflineAfter | None = None
    session_expiry_s: int | None = Field(None, ge=0, le=4_294_967_295)
    nats: NatsSettings = NatsSettings()

    @field_validator("tls", mode="before")
    @classmethod
    def _tls_may_be_a_flag(cls, value: object) -> object:
        """`tls: true` means TLS with the system's store, `false` none."""
        if value is True:
            return {}
        return None if value is False else value


def check_place(name: str, place: int, ceilings: Settings) -> None:
    """Return where an integration is one of those that an organization may have. Raises: Misconfigured."""
    if place > ceilings.max_integrations:
        told = f"its organization has more than {ceilings.max_integrations} integrations (ROLLCALL_MAX_INTEGRATIONS)"
        raise Misconfigured(f"integration {name!r}: it is not served, for {told}")


def webhooks_are_proved(settings: Any) -> bool:
    """Return whether an integration takes no webhooks that prove nothing."""
    webhook = settings.get("webhook") if isinstance(settings, Mapping) else None
    return not (isinstance(webhook, Mapping) and webhook.get("auth") == "none")


def mqtt_is_proved(wanted: "MqttSettings") -> bool:
    """Return whether an integration logs in at its broker; where it need not, nobody need."""
    tls, nats = wanted.tls, wanted.nats
    certificate = tls is not None and (tls.cert or tls.cert_file)
    named = wanted.username or wanted.password or nats.creds or nats.nkey or nats.creds_file or nats.nkey_file
    return bool(certificate or named)


def mqtt_settings(row: Any, integration: str) -> MqttSettings:
    """Read an mqtt integration's settings.

    Raises: Misconfigured, naming the integration, the key, what was given and what was expected.
    """
    return _row_settings(MqttSettings, row, integration)


def webhook_settings(row: Any, integration: str) -> WebhookSettings:
    """Read what webhooks need of an integration's settings. Raises: Misconfigured, as `mqtt_settings`."""
    return _row_settings(WebhookSettings, row, integration)


def _row_settings(model: type[_Model], row: Any, integration: str) -> _Model:
    try:
        return model.model_validate(row or {})
    except ValidationError as error:
        raise Misconfigured(explained(error, lambda place: f"integration {integration!r}: {place}")) from None
