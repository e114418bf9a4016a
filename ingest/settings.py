"""Settings of the process, from its environment.

Everything here is read once; nothing on the hot path looks at it again.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.egress.networks import PRIVATE, Network, parsed
from ingest.errors import Misconfigured

PREFIX = "ROLLCALL_"
SECRET_FIELDS = frozenset({"keys", "database_url", "database_direct_url", "password", "nats", "tls"})
"""Never repeated in a message, nor what is in them: a key is a secret, and a URL or a settings row may hold one."""

SHOWN = 200
"""Characters of a wrong value that a message repeats."""

OFFLINE_AFTER_MIN_S = 10
OFFLINE_AFTER_MAX_S = 31_536_000

LogLevel = Literal["debug", "info", "warning", "error"]
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
    http_connections: int = Field(1_000, ge=2, le=100_000)
    """Open at once; of one address at most `http_connections_each`."""
    http_connections_each: int = Field(500, ge=1, le=100_000)
    log_level: LogLevel = "info"
    max_created_per_minute: int = Field(60_000, ge=0)
    """The most that a row's `max_per_minute` counts for, as the next two for its `max_total` and `max_parked`."""
    max_created: int = Field(1_000_000, ge=0)
    max_parked: int = Field(100_000, ge=0)
    max_integrations: int = Field(100, ge=1)
    """Of one organization; those that the operator made count, and are never one too many."""
    private_networks: str = ",".join(PRIVATE)
    """Of the addresses that are not public, those to which rows lead that the operator did not make."""
    trusted_proxies: str = ""
    """Networks of the proxies before HTTP: what they forward counts as from the address that they name."""
    files: str | None = None
    """The folder below which a file name in a row counts; None: no file counts."""

    @field_validator("log_level", "mqtt", "http", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("private_networks", "trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        parsed(value)
        return value

    @field_validator("files")
    @classmethod
    def _is_a_folder(cls, value: str | None) -> str | None:
        if value and not Path(value).is_absolute():
            raise ValueError("an absolute path of a folder")
        return value or None

    @property
    def networks(self) -> tuple[Network, ...]:
        """`private_networks`, parsed."""
        return parsed(self.private_networks)

    @property
    def proxies(self) -> tuple[Network, ...]:
        """`trusted_proxies`, parsed."""
        return parsed(self.trusted_proxies)

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
    given = problem["input"]
    holds_login = isinstance(given, str) and "@" in given
    if not place or SECRET_FIELDS.intersection(place) or isinstance(given, dict | list) or holds_login:
        return f"{name} cannot be used: expected {expected}"
    return f"{name} is {_shortened(given)}: expected {expected}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def _expected(problem: Any) -> str:
    message: str = problem["msg"]
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return message
