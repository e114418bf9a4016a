"""Routes of integrations: the list, one of them, adding and testing one."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from handlers.facts import MAX_METADATA_BYTES
from handlers.text import truncate
from ingest.api.auth import Admin, Caller, Operator, Reader, actor_of
from ingest.api.dependencies import Api, CurrentApi
from ingest.api.error_handlers import not_found
from ingest.api.paging import Page, paged
from ingest.api.shapes import ERRORS, Asked, Shape, Text, json_error, json_response
from ingest.crypto import secret_context
from ingest.errors import DatabaseAway, Misconfigured, RollcallError
from ingest.integrations.secrets import WEBHOOK, encrypt_settings, found
from ingest.integrations.settings import mqtt_settings
from ingest.problems import Problem
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
from ingest.store.people import integrations
from ingest.store.people.audit import note
from ingest.webhooks.auth import LONG_ENOUGH, is_short

router = APIRouter(prefix="/api/integrations", tags=["integrations"], responses=ERRORS)
TESTED_WITHIN_S = 20.0
Kind = Literal["golioth", "aws_iot", "azure_iot", "mqtt"]
Hidden = Annotated[SecretStr, Field(min_length=1, max_length=8192)]


class Integration(Shape):
    """One connection to a provider or broker. Its secrets and settings are not shown."""

    id: UUID
    name: str
    integration_type: str
    status: str
    project_id: str | None
    base_url: str | None
    webhook_enabled: bool
    devices: int
    created_at: datetime | None
    updated_at: datetime | None


class Integrations(Shape):
    """A page of integrations."""

    integrations: list[Integration]
    next_cursor: str | None


class NewIntegration(Asked):
    """An integration to add: what each type needs is in docs/providers.md."""

    integration_type: Kind
    name: Text
    project_id: Text | None = None
    base_url: Annotated[Text | None, Field(max_length=255)] = None
    api_key: Hidden | None = None
    webhook_secret: Hidden | None = None
    settings: Annotated[dict[str, Any], Field(max_length=64)] = Field(default_factory=dict)


class Tested(Shape):
    """The result of a test: the provider answers and takes our key, or why not."""

    ok: bool
    detail: str


@router.get("", response_model=Integrations, operation_id="listIntegrations")
async def list_integrations(request: Request, api: CurrentApi, caller: Reader, page: Page) -> Response:
    """List integrations."""
    query = integrations.integrations
    return await paged(api, caller, request, page, Integrations, (str, UUID), query)


@router.get("/{integration_id}", response_model=Integration, operation_id="getIntegration")
async def get_integration(
    request: Request, api: CurrentApi, caller: Reader, integration_id: UUID
) -> Response:
    """Return one integration."""
    return json_response(request, await integration_of(api, caller, integration_id))


@router.post("", response_model=Integration, status_code=201, operation_id="createIntegration")
async def create_integration(
    request: Request, api: CurrentApi, caller: Admin, asked: NewIntegration
) -> Response:
    """Add an integration. A running Rollcall takes it up at once; secrets are kept encrypted."""
    identifier = uuid4()
    new = _encrypted(api, identifier, asked)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        if not await integrations.add(
            connection, caller.organization_id, new, api.dependencies.max_integrations
        ):
            raise Problem(
                409,
                f"the organization has {api.dependencies.max_integrations} integrations, and may have no more",
            )
        actor = actor_of(request, caller)
        await note(connection, caller.organization_id, actor, "integration.created", identifier, asked.name)
    return json_response(request, await integration_of(api, caller, identifier), status=201)


@router.post("/{integration_id}/test", response_model=Tested, operation_id="testIntegration")
async def test_integration(
    request: Request, api: CurrentApi, caller: Operator, integration_id: UUID
) -> Response:
    """Ask the provider for the least that shows address, key and rights to be right."""
    tested = await integration_of(api, caller, integration_id)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        actor = actor_of(request, caller)
        await note(
            connection, caller.organization_id, actor, "integration.tested", integration_id, tested.name
        )
    try:
        async with asyncio.timeout(TESTED_WITHIN_S):
            reached = await (await api.dependencies.providers(integration_id)).test_connection()
    except TimeoutError:
        return json_response(request, Tested(ok=False, detail="no answer in time"))
    except DatabaseAway:
        raise
    except RollcallError as error:
        return json_response(request, Tested(ok=False, detail=truncate(str(error), 500)))
    return json_response(request, Tested(ok=True, detail=truncate(reached.detail, 500)))


async def integration_of(api: Api, caller: Caller, integration_id: UUID) -> Integration:
    """Return one of the caller's integrations. Raises: Problem where it has none with this id."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        row = await integrations.integration(connection, caller.organization_id, integration_id)
    if row is None:
        raise not_found("integration")
    return Integration.model_validate(row)


def _encrypted(api: Api, identifier: UUID, asked: NewIntegration) -> integrations.New:
    """Check what was asked for, and encrypt its secrets. Raises: Problem, Misconfigured without a key."""
    settings, keyring = dict(asked.settings), api.dependencies.keyring
    key, hook = (
        secret.get_secret_value() if secret else None for secret in (asked.api_key, asked.webhook_secret)
    )
    if error := json_error(settings, MAX_METADATA_BYTES):
        raise Problem(422, f"settings {error}")
    try:
        if asked.integration_type == "mqtt":
            mqtt_settings(settings, asked.name)
        else:
            create_provider(
                ProviderSettings(asked.integration_type, asked.project_id, asked.base_url, key, settings)
            )
    except Misconfigured as error:
        raise Problem(422, str(error)) from None
    given = {"webhookSecret": hook or "", **found(settings, WEBHOOK)}
    if short := [name for name, secret in given.items() if secret and is_short(secret)]:
        raise Problem(422, f"{short[0]} is too short: {LONG_ENOUGH}")
    settings = encrypt_settings(settings, identifier, keyring)
    return integrations.New(
        identifier,
        asked.integration_type,
        asked.name,
        asked.project_id,
        asked.base_url,
        keyring.encrypt(key, secret_context(identifier, "api_key_encrypted")) if key else None,
        keyring.encrypt(hook, secret_context(identifier, "webhook_secret")) if hook else None,
        orjson.dumps(settings).decode(),
    )
