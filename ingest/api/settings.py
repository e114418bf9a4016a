"""Settings of the API: ROLLCALL_API_* and ROLLCALL_JWT_*."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.egress.networks import is_this_machine
from ingest.errors import Misconfigured
from ingest.settings import PREFIX, explained
from ingest.store.people.tokens import SCOPES

MIN_SECRET = 32
"""Bytes of an HS256 secret. Source: RFC 7518, 3.2."""


class ApiSettings(BaseSettings):
    """ROLLCALL_API_* and ROLLCALL_JWT_*. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    api_rate_per_s: float = Field(20, gt=0, le=100_000)
    """Requests a second and token, after `api_burst` at once."""
    api_burst: int = Field(100, ge=1, le=1_000_000)
    api_secrets_per_min: int = Field(10, ge=1, le=10_000)
    """Secrets that one token may read a minute."""
    api_max_body: int = Field(64 * 1024, ge=1024, le=16 << 20)
    api_cors_origins: list[str] = Field(default_factory=list)
    api_status_budget_s: float = Field(2.0, gt=0, le=30)
    api_status_cache_s: float = Field(5.0, ge=0, le=300)
    api_deployment_deadline_s: int = Field(86_400, ge=60, le=31_536_000)
    jwt_secret: SecretStr | None = None
    """Of HS256; or `jwt_jwks_url` for RS256. Without both only tokens of Rollcall are accepted."""
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_organization_claim: str = "organization_id"
    jwt_roles_claim: str = "role"
    jwt_roles: dict[str, str] = {
        "viewer": "read",
        "operator": "read operate",
        "admin": "read operate secrets admin",
    }
    """Role of the platform -> scopes."""

    @property
    def accepts_jwts(self) -> bool:
        """Whether tokens of the platform are accepted at all."""
        return bool(self.jwt_secret or self.jwt_jwks_url)

    @field_validator("jwt_roles")
    @classmethod
    def _scopes_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = {scope for scopes in value.values() for scope in scopes.split()} - set(SCOPES)
        if unknown:
            raise ValueError(f"scopes out of {', '.join(SCOPES)}, not {sorted(unknown)[0]}")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> "ApiSettings":
        if self.jwt_secret and self.jwt_jwks_url:
            raise ValueError("either ROLLCALL_JWT_SECRET or ROLLCALL_JWT_JWKS_URL, not both")
        if self.jwt_secret and len(self.jwt_secret.get_secret_value().encode()) < MIN_SECRET:
            raise ValueError(f"a ROLLCALL_JWT_SECRET of at least {MIN_SECRET} bytes")
        if self.accepts_jwts and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("ROLLCALL_JWT_ISSUER and ROLLCALL_JWT_AUDIENCE beside the key")
        if self.jwt_jwks_url and not _is_trustworthy(self.jwt_jwks_url):
            raise ValueError("an https address without a user in ROLLCALL_JWT_JWKS_URL")
        return self


def _is_trustworthy(url: str) -> bool:
    """Return whether keys may be read from a URL: https, or http on this machine, where nobody can change them."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or not url.isprintable() or "\\" in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(host))


def load_api_settings(**flags: Any) -> ApiSettings:
    """Read the settings; a flag wins over the environment. Raises: Misconfigured, never repeating a secret."""
    try:
        return ApiSettings(**flags)
    except ValidationError as error:
        shown = [problem for problem in error.errors(include_url=False) if problem["loc"] != ("jwt_secret",)]
        if len(shown) < error.error_count():
            raise Misconfigured("ROLLCALL_JWT_SECRET cannot be used: expected text") from None
        raise Misconfigured(explained(error, lambda place: PREFIX + place.upper())) from None
