"""Replay of dead letters: decoded again, with the time at which they were received, and applied.

The row is deleted in the transaction that applies it. One that still cannot be decoded stays where it is.
"""

from typing import NamedTuple
from uuid import UUID

import asyncpg

from handlers.dialects.plain import decode
from handlers.events import DeviceKey
from handlers.evidence import Evidence
from ingest.errors import Refused
from ingest.integrations import Planner
from ingest.session import SessionPlan
from ingest.store.apply import Applier
from ingest.store.batch import Batch, Target
from ingest.store.identity import Identities
from ingest.store.letters import Letter, letters


class Replayed(NamedTuple):
    """What became of one dead letter: `error` is None where it was applied."""

    id: UUID
    error: str | None


class Replay:
    """Replays dead letters, oldest first. Methods raise DatabaseAway and Misconfigured."""

    def __init__(
        self, pool: asyncpg.Pool, planner: Planner, applier: Applier, identities: Identities
    ) -> None:
        self._pool = pool
        self._planner = planner
        self._applier = applier
        self._identities = identities

    async def replay(self, ids: list[UUID]) -> list[Replayed]:
        """Replay these; an id that is not there has no entry in the answer."""
        return [Replayed(letter.id, await self._one(letter)) for letter in await letters(self._pool, ids)]

    async def _one(self, letter: Letter) -> str | None:
        if letter.truncated:
            return "only its head was kept, so it cannot be replayed"
        plan = self._planner.plan(letter.integration)
        decoded = decode(letter.publish, plan.context, None)
        if decoded.dead is not None:
            return decoded.dead.error
        evidence: dict[DeviceKey, Evidence] = {}
        for observation in decoded.observations:
            evidence.setdefault(observation.device, Evidence()).add(observation)
        return await self._apply(letter.id, plan, evidence)

    async def _apply(
        self, letter: UUID, plan: SessionPlan, evidence: dict[DeviceKey, Evidence]
    ) -> str | None:
        found = await self._identities.resolve(plan.integration_id, list(evidence), plan.policy)
        missing = sorted(set(evidence) - set(found))
        if missing:
            return (
                f"no device row for {missing[0].external_id!r}, and the policy for unknown devices makes none"
            )
        batch = Batch(replayed=[letter])
        for key, device_id in found.items():
            batch.add(device_id, Target(plan.offline_after), evidence[key])
        try:
            gone = await self._applier.commit(batch)
        except Refused as refused:
            return str(refused)
        return "its device was deleted meanwhile: try again" if gone else None
