"""Routes of conflicts between a row and its provider: the list, and resolving one."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from handlers.conflicts import METADATA
from handlers.events import MAX_SERIAL_NUMBER
from handlers.facts import MAX_COHORT_ID, MAX_HARDWARE_ID, MAX_LISTED, MAX_METADATA_VALUE_BYTES, MAX_NAME
from handlers.text import text_error
from ingest.api.auth import Caller, Operator, Reader
from ingest.api.dependencies import Api, CurrentApi
from ingest.api.error_handlers import not_found
from ingest.api.idempotency import Key, idempotent
from ingest.api.paging import Page, paged
from ingest.api.shapes import ERRORS, Asked, Shape, Text, json_error, json_response
from ingest.problems import Problem
from ingest.providers.port import DeviceChanges
from ingest.store.people import conflicts

router = APIRouter(prefix="/api/sync/conflicts", tags=["sync"], responses=ERRORS)
LEASE_S = 60.0
STRATEGIES = {"local": conflicts.LOCAL, "remote": "prefer_remote", "custom": "manual"}


class Conflict(Shape):
    """A field that both sides changed. `fieldName` is a column of the device or `metadata.` and a key."""

    id: UUID
    device_id: UUID
    field_name: str
    local_value: Any
    remote_value: Any
    detected_at: datetime
    resolution_strategy: str | None
    resolved_at: datetime | None
    resolved_by: UUID | None
    resolution_notes: str | None


class Conflicts(Shape):
    """A page of conflicts, newest first; `total` counts all of them."""

    conflicts: list[Conflict]
    total: int
    next_cursor: str | None


class Resolve(Asked):
    """The side that wins: the row, the provider, or another value altogether."""

    resolution: Literal["local", "remote", "custom"]
    custom_value: Any = None
    notes: Annotated[Text | None, Field(max_length=255)] = None


class Resolved(Shape):
    """A conflict that is resolved."""

    success: Literal[True] = True
    conflict_id: UUID
    resolved_at: datetime


@router.get("", response_model=Conflicts, operation_id="listConflicts")
async def list_conflicts(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    page: Page,
    device_id: Annotated[UUID | None, Query(alias="deviceId")] = None,
    state: Literal["open", "resolved", "all"] = "open",
) -> Response:
    """List conflicts."""
    resolved = None if state == "all" else state == "resolved"

    query = partial(conflicts.conflicts, device_id=device_id, resolved=resolved)
    total = partial(conflicts.total, device_id=device_id, resolved=resolved)
    return await paged(api, caller, request, page, Conflicts, (datetime, UUID), query, total=total)


@router.post("/{conflict_id}/resolve", response_model=Resolved, operation_id="resolveConflict")
async def resolve_conflict(
    request: Request, api: CurrentApi, caller: Operator, conflict_id: UUID, asked: Resolve, key: Key = None
) -> Response:
    """Resolve a conflict; where the row or another value wins, the provider is told. A second time is 409."""
    return await idempotent(
        api, caller, request, key, lambda: _resolve(api, caller, request, conflict_id, asked)
    )


async def _resolve(api: Api, caller: Caller, request: Request, conflict_id: UUID, asked: Resolve) -> Response:
    lease, holder = f"conflict/{conflict_id}", str(uuid4())
    await _open(api, caller, conflict_id)
    if not await api.dependencies.sessions.lease(lease, holder, LEASE_S):
        raise Problem(409, "the conflict is being resolved by somebody else")
    try:
        # Read under the lease: whoever held it until now may have resolved the conflict.
        return await _decided(api, caller, request, await _open(api, caller, conflict_id), asked)
    finally:
        await api.dependencies.sessions.release(lease, holder)


async def _open(api: Api, caller: Caller, conflict_id: UUID) -> conflicts.ConflictNow:
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        found = await conflicts.conflict(connection, caller.organization_id, conflict_id)
    if found is None:
        raise not_found("conflict")
    if found.resolved_at is not None:
        raise Problem(409, "the conflict is resolved already")
    return found


async def _decided(
    api: Api, caller: Caller, request: Request, found: conflicts.ConflictNow, asked: Resolve
) -> Response:
    value = {"local": found.local_now, "remote": found.remote_now, "custom": asked.custom_value}
    wins = value[asked.resolution]
    if error := _error(found.field_name, wins):
        raise Problem(422, f"{found.field_name}: the {asked.resolution} value {error}")
    pushed = asked.resolution != "remote" and await _push(api, found, wins)
    resolution = conflicts.Resolution(
        STRATEGIES[asked.resolution],
        wins,
        wins if pushed else found.remote_now,
        pushed,
        asked.notes,
        api.dependencies.clock(),
    )
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        resolved_at = await conflicts.resolve(
            connection,
            caller.organization_id,
            found,
            resolution,
            (caller.name, caller.user_id, caller.token_id),
        )
    if resolved_at is None:
        raise Problem(409, "the conflict was resolved meanwhile")
    return json_response(request, Resolved(conflict_id=found.id, resolved_at=resolved_at))


async def _push(api: Api, found: conflicts.ConflictNow, value: Any) -> bool:
    """Write the value to the provider; False where it keeps no such field. Raises: the errors of the provider."""
    changes = _changes(found.field_name, value)
    if (
        changes is None
        or found.integration_id is None
        or found.integration_type is None
        or found.provider_key is None
    ):
        return False
    provider = await api.dependencies.providers(found.integration_id)
    able = provider.capabilities
    if not able.supports_update or not changes.given() <= able.updatable:
        return False
    await provider.update_device(found.provider_key, changes)
    return True


def _changes(field: str, value: Any) -> DeviceChanges | None:
    """Return what to write to a provider; a serial number is the provider's own."""
    match field:
        case "name":
            return DeviceChanges(name=value)
        case "hardware_ids":
            return DeviceChanges(hardware_ids=tuple(value))
        case "cohort_id":
            return DeviceChanges(cohort_id=value)
        case "golioth_status" if value in ("enabled", "disabled"):
            return DeviceChanges(enabled=value == "enabled")
        case "metadata.tags" if isinstance(value, list):
            return DeviceChanges(tags=tuple(map(str, value)))
        case _ if field.startswith(METADATA):
            return DeviceChanges(metadata={field.removeprefix(METADATA): value})
    return None


def _error(field: str, value: Any) -> str | None:
    """Return why a value cannot be that of a field, None where it can."""
    check = _CHECKS.get(field)
    if check is None and not field.startswith(METADATA):
        return "cannot be set: it is no field that conflicts"
    return (check or _json_error)(value)


def _text(limit: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return text_error(value, limit) if isinstance(value, str) else "is not text"

    return check


def _texts(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        return f"is not a list of at most {MAX_LISTED} texts"
    return next((error for item in value if (error := _text(MAX_HARDWARE_ID)(item))), None)


def _json_error(value: Any) -> str | None:
    return json_error(value, MAX_METADATA_VALUE_BYTES)


def _status(value: Any) -> str | None:
    return None if value in ("enabled", "disabled", "suspended") else "is not enabled, disabled or suspended"


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "name": _text(MAX_NAME),
    "serial_number": _text(MAX_SERIAL_NUMBER),
    "hardware_ids": _texts,
    "cohort_id": _text(MAX_COHORT_ID),
    "golioth_status": _status,
}
