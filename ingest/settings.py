"""What the process is told by its environment, and what one mqtt integration is told by its row.

Everything here is read once; nothing on the hot path looks at it again.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.errors import Misconfigured

PREFIX = "ROLLCALL_"
SECRET_FIELDS = frozenset({"keys", "database_url", "database_direct_url", "password", "nats", "tls"})
"""Never repeated in a message, nor what is in them: a key is a secret, and a URL or a settings row may hold one."""

OFFLINE_AFTER_MIN_S = 10
OFFLINE_AFTER_MAX_S = 31_536_000

_Model = TypeVar("_Model", bound=BaseModel)
LogLevel = Literal["debug", "info", "warning", "error"]
Protocol = Literal["5", "3.1.1", "auto", "jetstream"]
Switch = Literal["on", "off"]


class Settings(BaseSettings):
    """The process's settings, from ROLLCALL_* variables and .env. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    database_url: str = Field(min_length=1)
    database_direct_url: str | None = None
    """For what needs a session of its own (migrations, LISTEN) where `database_url` is a transaction pooler."""
    keys: SecretStr | None = None
    """Comma-separated `kid:base64-of-32-bytes`; the first encrypts, all decrypt."""
    max_inflight: int = Field(16_384, ge=1, le=65_535)
    max_batch: int = Field(4_000, ge=1, le=65_535)
    max_payload: int = Field(1 << 20, ge=1, le=268_435_455)
    offline_after_s: int = Field(900, ge=OFFLINE_AFTER_MIN_S, le=OFFLINE_AFTER_MAX_S)
    presence_resolution_s: float = Field(0, ge=0, le=86_400)
    max_ahead_s: float = Field(300, ge=0, le=86_400)
    sweep_every_s: float = Field(10, gt=0, le=3_600)
    marker_interval_s: float = Field(5, gt=0, le=300)
    keep_alive_s: int = Field(30, ge=1, le=65_535)
    session_expiry_s: int = Field(86_400, ge=0, le=4_294_967_295)
    lease_ttl_s: float = Field(15, ge=1, le=600)
    reconcile_every_s: float = Field(300, gt=0, le=86_400)
    provider_lag_s: float = Field(300, ge=0, le=86_400)
    """A listed value without a time of its own counts as this much older than the request."""
    mqtt: Switch = "on"
    http: Switch = "on"
    http_host: str = Field("127.0.0.1", min_length=1)
    http_port: int = Field(8080, ge=0, le=65_535)
    """0: the system chooses one, and the log says which."""
    log_level: LogLevel = "info"

    @field_validator("log_level", "mqtt", "http", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def direct_url(self) -> str:
        """The URL for what needs a session of its own."""
        return self.database_direct_url or self.database_url


def load_settings(**flags: Any) -> Settings:
    """Read the settings; a flag that is not None wins over the environment.

    Raises: Misconfigured, naming each variable, what was given (never a secret) and what was expected.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise Misconfigured(explained(error, lambda place: PREFIX + place.upper())) from None


def explained(error: ValidationError, name_of: Any) -> str:
    """Return one line a problem: 'NAME is VALUE: expected ...', without repeating a secret."""
    return "\n".join(_line(problem, name_of) for problem in error.errors(include_url=False))


def _line(problem: Any, name_of: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    name = name_of(".".join(place)) if place else "the settings"
    if problem["type"] == "missing":
        return f"{name} is not set, and it is needed"
    expected = _expected(problem)
    if not place or SECRET_FIELDS.intersection(place) or isinstance(problem["input"], dict | list):
        return f"{name} cannot be used: expected {expected}"
    return f"{name} is {problem['input']!r}: expected {expected}"


def _expected(problem: Any) -> str:
    message: str = problem["msg"]
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return message


class TlsSettings(BaseModel):
    """TLS to the broker. PEM file paths; without `ca_file` the system's store decides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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


def _policy_may_be_a_word(value: object) -> object:
    return {"policy": value} if isinstance(value, str) else value


Unknown = Annotated[UnknownDevices, BeforeValidator(_policy_may_be_a_word)]
OfflineAfter = Annotated[int, Field(ge=OFFLINE_AFTER_MIN_S, le=OFFLINE_AFTER_MAX_S)]


class WebhookSettings(BaseModel):
    """What webhooks need of the `settings` of a device_integrations row, beside `webhook` itself (ingest/webhooks)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    field_paths: dict[str, str] = Field(default_factory=dict)
    unknown_devices: Unknown = UnknownDevices()
    liveness: Literal["receipt", "event_time"] = "receipt"
    offline_after_s: OfflineAfter | None = None


class NatsSettings(BaseModel):
    """What `protocol: "jetstream"` needs beside host, tls, username and password (docs/nats.md)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    servers: tuple[Annotated[str, Field(pattern=r"^[^\s/@]+:\d{1,5}$")], ...] = ()
    """host:port of some or all servers of the cluster; without any, the setting host at port 4222."""
    creds_file: str | None = None
    nkey_file: str | None = None
    ack_wait_s: float = Field(30, ge=1, le=3_600)
    qos_0: bool = True


class MqttSettings(BaseModel):
    """The `settings` of a device_integrations row of type mqtt. Unknown keys are somebody else's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(1883, ge=1, le=65_535)
    tls: TlsSettings | None = None
    username: str | None = None
    password: SecretStr | None = None
    """As stored: encrypted, or in the clear where somebody wrote it by hand."""
    protocol: Protocol = "auto"
    client_id: str = Field("rollcall", min_length=1)
    """The prefix of the client id."""
    slots: int = Field(1, ge=1, le=32)
    """Sessions that share the telemetry, over all replicas; 1: one session reads everything."""
    topics: dict[str, Any] | None = None
    dialect: str = "plain"
    field_paths: dict[str, str] = Field(default_factory=dict)
    unknown_devices: Unknown = UnknownDevices()
    liveness: Literal["receipt", "event_time"] = "receipt"
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
