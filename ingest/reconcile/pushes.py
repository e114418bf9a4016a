"""Pushes to the provider: fields of the row that win, or were united, where the provider can take them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from handlers.conflicts import METADATA
from handlers.events import Micros
from ingest.errors import Declined, Misconfigured, ProviderAway, RollcallError
from ingest.providers.port import DeviceChanges, Provider
from ingest.reconcile.plan import Plan
from ingest.reconcile.runs import Run, Runs
from ingest.store.commit.batch import Decided
from ingest.store.errors import acquired
from ingest.store.queries import queries

MAX_CONCURRENT = 4
MAX_PUSHES = 2_000
"""Fields a run; the next run finds the others."""
TAGS = METADATA + "tags"


class Push(NamedTuple):
    """A field that the provider is to have as the row has it."""

    device_id: UUID
    external_id: str
    field: str
    value: Any


def pushes_of(
    decided: Sequence[Decided], external_ids: Mapping[UUID, str], plan: Plan, updatable: frozenset[str]
) -> list[Push]:
    """Return what of it this provider can take."""
    return [
        Push(fact.device_id, external_ids[fact.device_id], fact.field, decision.value)
        for fact, _, decision, _ in decided
        if decision.kind == "push"
        and _place(fact.field) in updatable
        and (plan.pushes_names or fact.field != "name")
    ]


class Pushes:
    """Tells a provider, a few devices at once, and stores what both sides agree on then."""

    def __init__(
        self, pool: asyncpg.Pool, runs: Runs, provider: Provider, *, timeout_s: float = 30.0
    ) -> None:
        self._pool = pool
        self._runs = runs
        self._provider = provider
        self._timeout_s = timeout_s

    async def send(self, run: Run, pushes: Iterable[Push]) -> None:
        """Push all of it; what fails is noted, and the next run tries it again. Raises: DatabaseAway, RunLost."""
        devices: dict[UUID, list[Push]] = defaultdict(list)
        for push in pushes:
            devices[push.device_id].append(push)
        waiting = iter(devices.values())

        async def worker() -> None:
            for mine in waiting:
                await self._one(run, mine)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(MAX_CONCURRENT):
                    group.create_task(worker())
        except ExceptionGroup as failed:
            away, ours = failed.split((ProviderAway, Misconfigured))
            if ours is not None:
                raise _alone(ours) from failed
            if away is not None:
                run.note(f"not all changes could be pushed: {away.exceptions[0]}")

    async def _one(self, run: Run, pushes: list[Push]) -> None:
        changes = _changes(pushes)
        try:
            answer = await self._provider.update_device(pushes[0].external_id, changes)
        except Declined as declined:
            run.note(f"{pushes[0].external_id}: {declined}")
            return
        rows = [_agreed(push, answer.updated_at or 0) for push in pushes]
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await connection.execute(queries()["agree_facts"], *zip(*rows, strict=True))
            await self._runs.move(connection, run, pushed=len(pushes))


def _alone(failed: ExceptionGroup[Exception]) -> Exception:
    """Return the first error, as callers catch it; the whole group where not all of it was raised on purpose."""
    return failed if failed.split(RollcallError)[1] is not None else failed.exceptions[0]


def _place(field: str) -> str:
    """Return the field of DeviceChanges that takes a fact."""
    if field == TAGS:
        return "tags"
    return "metadata" if field.startswith(METADATA) else field


def _changes(pushes: list[Push]) -> DeviceChanges:
    changes: dict[str, Any] = {}
    for push in pushes:
        place = _place(push.field)
        if place == "metadata":
            changes.setdefault("metadata", {})[push.field.removeprefix(METADATA)] = push.value
        else:
            changes[place] = tuple(push.value) if isinstance(push.value, list) else push.value
    return DeviceChanges(**changes)


def _agreed(push: Push, at: Micros) -> tuple[UUID, str, str, Micros]:
    return push.device_id, push.field, orjson.dumps(push.value, option=orjson.OPT_SORT_KEYS).decode(), at
