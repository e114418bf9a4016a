"""Routes of dead letters and unknown devices: the lists, replaying a letter, adopting an id."""

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from ingest.api.auth import Caller, Operator, Reader
from ingest.api.dependencies import Api, CurrentApi
from ingest.api.error_handlers import not_found
from ingest.api.idempotency import Key, idempotent
from ingest.api.paging import Page, paged
from ingest.api.shapes import ERRORS, Asked, Shape, Text, json_response
from ingest.store.people import dead_letters, unknown_devices

router = APIRouter(prefix="/api", tags=["dead letters and unknown devices"], responses=ERRORS)


class DeadLetter(Shape):
    """A message that could not be understood or was refused. Its payload is shown by `rollcall dead-letters show`."""

    id: UUID
    integration_id: UUID
    kind: str
    error: str
    topic: str
    qos: int
    bytes: int
    truncated: bool
    received_at: datetime
    recorded_at: datetime


class DeadLetters(Shape):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetter]
    next_cursor: str | None


class Replay(Asked):
    """The dead letters to decode and apply again."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=100)]


class ReplayResult(Shape):
    """The result of one replay; `error` is null where it was applied."""

    id: UUID
    error: str | None


class ReplayResults(Shape):
    """The result of each replay."""

    results: list[ReplayResult]


class UnknownDevice(Shape):
    """An id that spoke and has no row."""

    integration_id: UUID
    external_device_id: str
    messages: int
    first_at: datetime
    last_at: datetime


class UnknownDevices(Shape):
    """A page of unknown devices."""

    unknown_devices: list[UnknownDevice]
    next_cursor: str | None


class Adopt(Asked):
    """The unknown id that becomes a device."""

    integration_id: UUID
    external_device_id: Text


class Adopted(Shape):
    """The device that it became."""

    device_id: UUID


@router.get("/dead-letters", response_model=DeadLetters, operation_id="listDeadLetters")
async def list_dead_letters(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    page: Page,
    integration: UUID | None = None,
    kind: Text | None = None,
) -> Response:
    """List dead letters."""
    query = partial(dead_letters.dead_letters, integration_id=integration, kind=kind)
    return await paged(api, caller, request, page, DeadLetters, (datetime, UUID), query)


@router.post("/dead-letters/replay", response_model=ReplayResults, operation_id="replayDeadLetters")
async def replay_dead_letters(
    request: Request, api: CurrentApi, caller: Operator, asked: Replay, key: Key = None
) -> Response:
    """Decode dead letters again, as of when they were received. What is applied is a dead letter no more."""

    async def work() -> Response:
        async with api.dependencies.tenants.of(caller.organization_id) as connection:
            ids = await dead_letters.existing(connection, caller.organization_id, asked.ids)
        done = {result.id: result.error for result in await api.dependencies.replay(ids)} if ids else {}
        missing = "there is no such dead letter"
        results = [ReplayResult(id=item, error=done.get(item, missing)) for item in dict.fromkeys(asked.ids)]
        return json_response(request, ReplayResults(results=results))

    return await idempotent(api, caller, request, key, work)


@router.get("/unknown-devices", response_model=UnknownDevices, operation_id="listUnknownDevices")
async def list_unknown_devices(
    request: Request,
    api: CurrentApi,
    caller: Reader,
    page: Page,
    integration: UUID | None = None,
) -> Response:
    """List ids that spoke and have no row."""
    query = partial(unknown_devices.unknown_devices, integration_id=integration)
    return await paged(api, caller, request, page, UnknownDevices, (str, UUID), query)


@router.post(
    "/unknown-devices/adopt", response_model=Adopted, status_code=201, operation_id="adoptUnknownDevice"
)
async def adopt_unknown_device(
    request: Request, api: CurrentApi, caller: Operator, asked: Adopt, key: Key = None
) -> Response:
    """Make an unknown id a device, which gets what it has said so far."""
    return await idempotent(api, caller, request, key, lambda: _adopt(api, caller, request, asked))


async def _adopt(api: Api, caller: Caller, request: Request, asked: Adopt) -> Response:
    async with api.dependencies.tenants.of(caller.organization_id) as connection:
        device_id = await unknown_devices.adopt(
            connection, caller.organization_id, asked.integration_id, asked.external_device_id
        )
    if device_id is None:
        raise not_found("unknown device")
    await api.dependencies.adopt(asked.integration_id)
    return json_response(request, Adopted(device_id=device_id), status=201)
