"""Routes of reconciliations: run one now, and list those that ran."""

from datetime import datetime
from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request, Response

from ingest.api.auth import Operator, Reader
from ingest.api.dependencies import CurrentApi
from ingest.api.idempotency import Key, idempotent
from ingest.api.integrations import integration_of
from ingest.api.paging import Page, paged
from ingest.api.shapes import ERRORS, Asked, Flag, Shape, json_response
from ingest.store.people import reconciliations

router = APIRouter(prefix="/api/integrations", tags=["integrations"], responses=ERRORS)


class Sync(Asked):
    """`fullSync` reads everything anew, `dryRun` changes nothing."""

    full_sync: Flag = False
    dry_run: Flag = False


class Synced(Shape):
    """Counts of a reconciliation; `duration` in seconds. `devicesDeleted` are gone at the provider; their rows stay."""

    devices_processed: int
    devices_created: int
    devices_updated: int
    devices_deleted: int
    errors: list[str]
    duration: float


class Run(Shape):
    """One reconciliation."""

    id: UUID
    trigger: str
    status: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None
    listed: int
    created: int
    changed: int
    missing: int
    conflicts: int
    detail: str
    errors: list[str]


class Runs(Shape):
    """A page of reconciliations, newest first."""

    runs: list[Run]
    next_cursor: str | None


@router.post("/{integration_id}/sync", response_model=Synced, operation_id="syncIntegration")
async def sync_integration(
    request: Request,
    api: CurrentApi,
    caller: Operator,
    integration_id: UUID,
    asked: Sync | None = None,
    key: Key = None,
) -> Response:
    """Reconcile with the provider now, and answer when it is done."""

    async def work() -> Response:
        await integration_of(api, caller, integration_id)
        wanted = asked or Sync()
        done = await api.dependencies.sync(integration_id, wanted.full_sync, wanted.dry_run)
        return json_response(
            request,
            Synced(
                devices_processed=done.processed,
                devices_created=done.created,
                devices_updated=done.updated,
                devices_deleted=done.deleted,
                errors=list(done.errors),
                duration=done.duration_s,
            ),
        )

    return await idempotent(api, caller, request, key, work)


@router.get("/{integration_id}/runs", response_model=Runs, operation_id="listRuns")
async def list_runs(
    request: Request, api: CurrentApi, caller: Reader, page: Page, integration_id: UUID
) -> Response:
    """List what reconciliations did."""
    await integration_of(api, caller, integration_id)
    query = partial(reconciliations.runs, integration_id=integration_id)
    return await paged(api, caller, request, page, Runs, (datetime, UUID), query)
