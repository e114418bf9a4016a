"""Dependencies of the API, given by the rest of the process, and the state that its routes share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, cast
from uuid import UUID

from fastapi import Depends, Request

from handlers.events import Observation
from ingest.api.auth import Authenticator
from ingest.api.limits import Buckets
from ingest.api.live_status import ProviderStatuses
from ingest.api.settings import ApiSettings
from ingest.crypto import Keyring
from ingest.mqtt.port import Clock
from ingest.pipeline.replay import Replayed
from ingest.providers.port import Provider
from ingest.store.commit.sessions import Sessions
from ingest.store.tenants import Tenants


class Synced(NamedTuple):
    """Counts of a reconciliation. `deleted` counts devices that the provider has no more; their rows stay."""

    processed: int
    created: int
    updated: int
    deleted: int
    errors: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Services of the process that the API works with.

    `providers` returns the provider of an integration, which stays the giver's to close; raises Misconfigured.
    `sync(integration_id, full, dry_run)` reconciles now; raises Unavailable where a run is under way already.
    `observe` returns once the observations are committed. `replay` and `adopt` are those of
    ingest/pipeline/replay.py and of ingest/store/commit/parking.py, the latter with the integration's own
    offline_after.
    """

    tenants: Tenants
    sessions: Sessions
    keyring: Keyring
    clock: Clock
    providers: Callable[[UUID], Awaitable[Provider]]
    sync: Callable[[UUID, bool, bool], Awaitable[Synced]]
    observe: Callable[[Sequence[Observation]], Awaitable[None]]
    replay: Callable[[list[UUID]], Awaitable[Sequence[Replayed]]]
    adopt: Callable[[UUID], Awaitable[int]]
    settings: ApiSettings = field(default_factory=ApiSettings)
    max_integrations: int = 100
    """Of one organization."""
    on_status: Callable[[int], None] = lambda status: None
    """Called with the status of each answer."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its dependencies, and what its routes share."""

    dependencies: Dependencies
    authenticator: Authenticator
    live: ProviderStatuses
    requests: Buckets
    secrets: Buckets


def _api_of(request: Request) -> Api:
    return cast(Api, request.app.state.api)


CurrentApi = Annotated[Api, Depends(_api_of)]
