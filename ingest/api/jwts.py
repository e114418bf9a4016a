"""JSON Web Tokens of the platform: one pinned algorithm, issuer, audience and expiry checked, keys cached.

Source: RFC 7519, RFC 8725 (best current practices).
"""

import asyncio
import time
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import jwt

from ingest.api.settings import ApiSettings
from ingest.egress.gate import Egress
from ingest.egress.https import EgressTransport
from ingest.errors import Unauthorized, Unavailable
from ingest.providers.http import authorities

MAX_JWKS = 256 * 1024
JWKS_FRESH_S = 600.0
JWKS_AT_MOST_EVERY_S = 30.0
"""An unknown key id makes us read the keys again, but not more often than this."""
JWKS_TRUSTED_S = 86_400.0
"""Keys that cannot be read again for a day are trusted no longer: one of them may have been withdrawn."""
JWKS_TIMEOUT_S = 5.0
LEEWAY_S = 30
MAX_JWT = 8192


class Claims(NamedTuple):
    """The claims of a valid token."""

    organization_id: UUID
    subject: str
    scopes: frozenset[str]


class Jwts:
    """Checks tokens by one key (HS256) or by the keys at an address (RS256)."""

    def __init__(self, settings: ApiSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._transport = transport
        self._algorithm = "HS256" if settings.jwt_secret else "RS256"
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def check(self, token: str) -> Claims:
        """Return what the token proves. Raises: Unauthorized; Unavailable when the keys cannot be had."""
        try:
            if len(token) > MAX_JWT:
                raise Unauthorized("the token is too long")
            key = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthorized("the token is not valid here") from None
        return self._claims(claims)

    def _claims(self, claims: dict[str, Any]) -> Claims:
        organization = claims.get(self._settings.jwt_organization_claim)
        roles = claims.get(self._settings.jwt_roles_claim)
        named = [roles] if isinstance(roles, str) else roles if isinstance(roles, list) else []
        scopes = {
            scope
            for role in named
            if isinstance(role, str)
            for scope in self._settings.jwt_roles.get(role, "").split()
        }
        try:
            return Claims(UUID(organization), str(claims["sub"])[:100], frozenset(scopes))
        except (ValueError, TypeError, AttributeError):
            raise Unauthorized("the token names no organization") from None

    async def _key(self, header: dict[str, Any]) -> Any:
        if self._settings.jwt_secret:
            return self._settings.jwt_secret.get_secret_value()
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise Unauthorized("the token names no key")
        if kid not in self._keys or time.monotonic() - self._read_at > JWKS_FRESH_S:
            await self._read_keys(kid)
        if time.monotonic() - self._read_at > JWKS_TRUSTED_S:
            raise Unavailable("the platform's keys could not be read for a day: they are trusted no longer")
        if kid not in self._keys:
            raise Unauthorized("the token was signed with a key that is not known")
        return self._keys[kid].key

    async def _read_keys(self, kid: str) -> None:
        async with self._reading:
            now = time.monotonic()
            if now - self._tried_at < JWKS_AT_MOST_EVERY_S:
                return
            self._tried_at = now
            try:
                self._keys = _parsed(await self._fetched())
            except (httpx.HTTPError, httpx.InvalidURL, jwt.PyJWTError, ValueError, TimeoutError) as error:
                if kid in self._keys:
                    return  # a key that was good a moment ago is still the best that we know
                self._tried_at = now - JWKS_AT_MOST_EVERY_S + 1
                raise Unavailable(f"the platform's keys cannot be read: {type(error).__name__}") from None
            self._read_at = now

    async def _fetched(self) -> bytes:
        assert self._settings.jwt_jwks_url
        async with (
            asyncio.timeout(JWKS_TIMEOUT_S),
            httpx.AsyncClient(
                transport=self._transport or EgressTransport(Egress(), authorities()),
                timeout=JWKS_TIMEOUT_S,
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream("GET", self._settings.jwt_jwks_url) as got,
        ):
            got.raise_for_status()
            body = b""
            async for part in got.aiter_bytes():
                body += part
                if len(body) > MAX_JWKS:
                    raise ValueError("too long")
        return body


def _parsed(body: bytes) -> dict[str, jwt.PyJWK]:
    """Return the RSA keys by id; what is no such key is left out."""
    found = jwt.PyJWKSet.from_json(body.decode())
    return {key.key_id: key for key in found.keys if key.key_id and key.key_type == "RSA"}
