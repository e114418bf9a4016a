"""The ASGI application: every route of the API, its limits and its error handlers, built from its dependencies."""

from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import ingest
from ingest.api import (
    conflicts,
    credentials,
    dead_letters,
    deployments,
    devices,
    firmware,
    integrations,
    reconciliations,
    status,
)
from ingest.api.auth import Authenticator
from ingest.api.dependencies import Api, Dependencies
from ingest.api.documentation import serve_documentation
from ingest.api.error_handlers import handle_errors
from ingest.api.limits import Buckets, Edge
from ingest.api.live_status import ProviderStatuses
from ingest.api.settings import ApiSettings
from ingest.errors import Unauthorized
from ingest.store.people import integrations as integration_rows

if TYPE_CHECKING:
    from ingest.api.jwts import Jwts

ROUTERS = (
    devices.router, status.router, credentials.router, firmware.router, deployments.router, integrations.router,
    reconciliations.router, conflicts.router, dead_letters.router,
)  # fmt: skip
DESCRIPTION = "Who is online, since when, on which firmware. Errors are problem details (RFC 9457)."


def create_api(dependencies: Dependencies) -> FastAPI:
    """Return the application, to be mounted or served; end it with `close_api`."""
    app = FastAPI(
        title="Rollcall", version=ingest.__version__, description=DESCRIPTION, docs_url=None, redoc_url=None,
        debug=False,
    )  # fmt: skip
    serve_documentation(app)
    settings = dependencies.settings
    app.state.api = Api(
        dependencies=dependencies,
        authenticator=Authenticator(dependencies.tenants, _jwts(settings)),
        live=ProviderStatuses(
            dependencies.providers,
            dependencies.observe,
            dependencies.clock,
            budget_s=settings.api_status_budget_s,
            cache_s=settings.api_status_cache_s,
        ),
        requests=Buckets(settings.api_rate_per_s, settings.api_burst),
        secrets=Buckets(settings.api_secrets_per_min / 60, settings.api_secrets_per_min),
    )
    for router in ROUTERS:
        app.include_router(router)
    handle_errors(app)
    app.add_middleware(Edge, max_body=settings.api_max_body, on_status=dependencies.on_status)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key", "if-none-match"],
            expose_headers=["etag", "retry-after"],
        )
    return app


async def close_api(app: FastAPI) -> None:
    """End what is under way towards providers."""
    await app.state.api.live.aclose()


async def readable_integrations(app: FastAPI, token: str) -> frozenset[UUID] | None:
    """Return the ids of the integrations that a bearer token of scope `read` may see; None for any other token.

    Raises: DatabaseAway, Unavailable.
    """
    api: Api = app.state.api
    try:
        caller = await api.authenticator.caller(token)
    except Unauthorized:
        return None
    if "read" not in caller.scopes:
        return None
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        return await integration_rows.ids(connection, caller.organization_id)


def _jwts(settings: ApiSettings) -> "Jwts | None":
    """Return what checks the platform's tokens where they are accepted; its libraries take several MiB."""
    if not settings.accepts_jwts:
        return None
    from ingest.api.jwts import Jwts

    return Jwts(settings)
