"""Routes of device credentials: list without secrets, read one with an audit, create and revoke one."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, Field, SecretStr, field_validator

from ingest.api.auth import Reader, SecretReader, actor_of
from ingest.api.dependencies import CurrentApi
from ingest.api.devices import existing_device
from ingest.api.error_handlers import not_found
from ingest.api.shapes import ERRORS, Asked, Shape, Text, json_response, secret_response
from ingest.problems import Problem
from ingest.store.people import credentials

router = APIRouter(prefix="/api/devices/{device_id}/credentials", tags=["credentials"], responses=ERRORS)
Kind = Literal["PRE_SHARED_KEY", "CERTIFICATE", "TOKEN"]
MAX_SECRET = 32 * 1024


class Credential(Shape):
    """A credential without its secret."""

    credential_id: UUID
    credential_type: Kind
    identity: str
    state: Literal["active", "expired", "revoked"]
    created_at: datetime | None
    expires_at: datetime | None
    last_accessed_at: datetime | None


class Credentials(Shape):
    """The credentials of a device."""

    credentials: list[Credential]


class Decrypt(Asked):
    """The credential to read."""

    credential_id: UUID


class Decrypted(Shape):
    """A credential with its secret."""

    credential_id: UUID
    credential_type: Kind
    identity: str
    secret: str


class NewCredential(Asked):
    """A credential to keep. One of each type can be active on a device."""

    credential_type: Kind
    identity: Text
    secret: Annotated[SecretStr, Field(min_length=1, max_length=MAX_SECRET)]
    expires_at: AwareDatetime | None = None

    @field_validator("expires_at")
    @classmethod
    def _lies_ahead(cls, value: datetime | None) -> datetime | None:
        if value is not None and not datetime.now(UTC) < value.astimezone(UTC) < datetime(
            9999, 1, 1, tzinfo=UTC
        ):
            raise ValueError("must lie in the future")
        return value


class Created(Shape):
    """The id of the new credential."""

    credential_id: UUID


@router.get("", response_model=Credentials, operation_id="listCredentials")
async def list_credentials(request: Request, api: CurrentApi, caller: Reader, device_id: UUID) -> Response:
    """List a device's credentials. No secret is ever in a list."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        await existing_device(connection, caller, device_id)
        found = await credentials.credentials(connection, caller.organization_id, device_id)
    return json_response(request, Credentials.model_validate({"credentials": found}))


@router.post("/decrypt", response_model=Decrypted, operation_id="decryptCredential")
async def decrypt(
    request: Request, api: CurrentApi, caller: SecretReader, device_id: UUID, asked: Decrypt
) -> Response:
    """Return one secret. Who read it, when and from where is written down before."""
    api.secrets.take(caller.key)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        row = await credentials.read(
            connection, caller.organization_id, device_id, asked.credential_id, actor_of(request, caller)
        )
    if row is None:
        raise not_found("credential")
    if row.encrypted_secret is None:
        raise Problem(410, f"the credential is {row.state}")
    keyring, stored, kind = api.dependencies.keyring, row.encrypted_secret, row.credential_type
    clear = credentials.decrypt_secret(stored, device_id, kind, keyring)
    if keyring.can_encrypt and not keyring.is_current(stored):
        encrypted = keyring.encrypt(clear, credentials.context(device_id, kind))
        async with api.dependencies.tenants.of(caller.organization_id) as connection:
            await credentials.upgrade(connection, row.id, stored, encrypted)
    return secret_response(
        Decrypted(credential_id=row.id, credential_type=kind, identity=row.identity, secret=clear)
    )


@router.post("", response_model=Created, status_code=201, operation_id="createCredential")
async def create_credential(
    request: Request, api: CurrentApi, caller: SecretReader, device_id: UUID, asked: NewCredential
) -> Response:
    """Keep a secret for a device, encrypted."""
    bound_to = credentials.context(device_id, asked.credential_type)
    encrypted = api.dependencies.keyring.encrypt(asked.secret.get_secret_value(), bound_to)
    new = credentials.New(device_id, asked.credential_type, asked.identity, encrypted, asked.expires_at)
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        await existing_device(connection, caller, device_id)
        made = await credentials.create(connection, caller.organization_id, new, actor_of(request, caller))
    if made is None:
        raise Problem(409, f"the device has an active {asked.credential_type}: revoke it first")
    return json_response(request, Created(credential_id=made), status=201)


@router.delete(
    "/{credential_id:uuid}", status_code=204, response_class=Response, operation_id="revokeCredential"
)
async def revoke_credential(
    request: Request, api: CurrentApi, caller: SecretReader, device_id: UUID, credential_id: UUID
) -> Response:
    """Delete a secret for good. The row stays, because the audit names it."""
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        done = await credentials.revoke(
            connection, caller.organization_id, device_id, credential_id, actor_of(request, caller)
        )
    if not done:
        raise not_found("credential")
    return Response(status_code=204)
