"""Authentication: from a bearer token, Rollcall's or the platform's, to a caller with an organization and scopes."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from handlers.text import truncate
from ingest.errors import Unauthorized
from ingest.problems import Problem
from ingest.store.people import tokens
from ingest.store.people.audit import Actor
from ingest.store.tenants import POOL_TIMEOUT_S, Tenants

if TYPE_CHECKING:
    from ingest.api.jwts import Jwts

Scope = Literal["read", "operate", "secrets", "admin"]
BEARER = HTTPBearer(auto_error=False, description="A token `rc_...`, or a JWT of the platform.")
MAX_AGENT = 500


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `name` is for the audit, `key` for the limits."""

    organization_id: UUID
    scopes: frozenset[str]
    name: str
    key: str
    token_id: UUID | None = None
    user_id: UUID | None = None


class Authenticator:
    """Resolves bearer tokens to callers. Without `jwts` tokens of the platform are not accepted."""

    def __init__(self, tenants: Tenants, jwts: "Jwts | None") -> None:
        self._tenants = tenants
        self._jwts = jwts

    async def caller(self, token: str) -> Caller:
        """Return the caller that a token belongs to.

        Raises: Unauthorized, DatabaseAway; Unavailable when the platform's keys are away.
        """
        if token.startswith(tokens.PREFIX):
            return await self._holder(token)
        if self._jwts is not None:
            claims = await self._jwts.check(token)
            return Caller(
                claims.organization_id,
                claims.scopes,
                f"user {claims.subject}",
                f"user {claims.subject}",
                user_id=_uuid(claims.subject),
            )
        raise Unauthorized("the token is not valid here")

    async def _holder(self, token: str) -> Caller:
        wanted = tokens.digest(token)
        found = await tokens.find(self._tenants.pool, wanted, POOL_TIMEOUT_S)
        if found is None or not hmac.compare_digest(found.hash, wanted):
            raise Unauthorized("the token is not known")
        if found.revoked:
            raise Unauthorized("the token is revoked")
        if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
            raise Unauthorized("the token has expired")
        return Caller(
            found.organization_id, found.scopes, f"token {found.name} ({found.id})", str(found.id), found.id
        )


async def _authenticated(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
) -> Caller:
    api = request.app.state.api
    if given is None or not given.credentials.isascii():
        raise _unauthorized("send a token as the header Authorization: Bearer <token>", None)
    try:
        caller: Caller = await api.authenticator.caller(given.credentials)
    except Unauthorized as error:
        raise _unauthorized(str(error), "invalid_token") from None
    api.requests.take(caller.key)
    if (proven := request.scope.get("proven")) is not None:
        proven()
    return caller


def _unauthorized(detail: str, error: str | None) -> Problem:
    """Return a 401. Source: RFC 6750, 3."""
    challenge = 'Bearer realm="rollcall"' + (f', error="{error}"' if error else "")
    return Problem(401, detail, headers={"www-authenticate": challenge})


def _needs(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    async def allowed(caller: Annotated[Caller, Depends(_authenticated)]) -> Caller:
        if scope not in caller.scopes:
            challenge = f'Bearer realm="rollcall", error="insufficient_scope", scope="{scope}"'
            raise Problem(403, f"this needs the scope {scope}", headers={"www-authenticate": challenge})
        return caller

    return allowed


Reader = Annotated[Caller, Depends(_needs("read"))]
Operator = Annotated[Caller, Depends(_needs("operate"))]
SecretReader = Annotated[Caller, Depends(_needs("secrets"))]
Admin = Annotated[Caller, Depends(_needs("admin"))]


def actor_of(request: Request, caller: Caller) -> Actor:
    """Return the caller as an actor of the audit."""
    agent = request.headers.get("user-agent")
    return Actor(
        caller.name,
        caller.user_id,
        caller.token_id,
        request.client.host if request.client else None,
        truncate(agent, MAX_AGENT) if agent else None,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
