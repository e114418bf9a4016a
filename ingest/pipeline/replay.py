"""Replay of dead letters: decoded again, with the time at which they were received, and applied.

The row is deleted in the transaction that applies it. One that still cannot be decoded stays where it is.
"""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from handlers.dialects.plain import decode
from handlers.events import DeviceKey, Observation
from handlers.evidence import Evidence, coalesce
from handlers.identity import label
from handlers.webhooks.delivery import Context, Handshake, Request
from handlers.webhooks.shapes import decode as decode_webhook
from ingest.integrations.planner import Planner
from ingest.mqtt.unreadable import UNREADABLE
from ingest.pipeline.segment import IntegrationContext
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.identity import Identities
from ingest.store.config.integrations import IntegrationRow
from ingest.store.errors import FAULTS
from ingest.store.people.dead_letters import Letter, letters
from ingest.store.transaction import Pool

ParseWebhookSettings = Callable[[IntegrationRow], tuple[Context, IntegrationContext]]
"""How an integration's webhook events are read."""


class Replayed(NamedTuple):
    """What became of one dead letter: `error` is None where it was applied."""

    id: UUID
    error: str | None


class _Undecodable(Exception):  # noqa: N818 - it never leaves this file
    """It still means nothing: the text says why."""


class Replay:
    """Replays dead letters, oldest first. Methods raise DatabaseAway and Misconfigured."""

    def __init__(
        self,
        pool: Pool,
        planner: Planner,
        parse_webhook_settings: ParseWebhookSettings,
        applier: Applier,
        identities: Identities,
    ) -> None:
        self._pool = pool
        self._planner = planner
        self._parse_webhook_settings = parse_webhook_settings
        self._applier = applier
        self._identities = identities

    async def replay(self, ids: list[UUID]) -> list[Replayed]:
        """Replay these; an id that is not there has no entry in the answer."""
        return [Replayed(letter.id, await self._one(letter)) for letter in await letters(self._pool, ids)]

    async def _one(self, letter: Letter) -> str | None:
        if letter.truncated:
            return "only its head was kept, so it cannot be replayed"
        if letter.kind == UNREADABLE.kind:
            return UNREADABLE.error
        try:
            context, observations = self._decoded(letter)
        except _Undecodable as error:
            return str(error)
        evidence: dict[DeviceKey, Evidence] = {}
        coalesce(observations, evidence)
        return await self._apply(letter.id, context, evidence)

    def _decoded(self, letter: Letter) -> tuple[IntegrationContext, list[Observation]]:
        """Return what it says, as of when it was received. Raises: _Undecodable."""
        if letter.headers is None:
            plan = self._planner.plan(letter.integration)
            decoded = decode(letter.publish, plan.context, None)
            if decoded.dead is not None:
                raise _Undecodable(decoded.dead.error)
            return IntegrationContext(plan.integration_id, plan.policy, plan.offline_after), list(
                decoded.observations
            )
        decoding, context = self._parse_webhook_settings(letter.integration)
        request = Request(letter.publish.payload, letter.headers, letter.publish.received_at)
        events = decode_webhook(request, decoding)
        if isinstance(events, Handshake):
            raise _Undecodable("it is a handshake, which has no meaning later")
        for event in events:
            if event.decoded.dead is not None:
                raise _Undecodable(event.decoded.dead.error)
        return context, [one for event in events for one in event.decoded.observations]

    async def _apply(
        self, letter: UUID, context: IntegrationContext, evidence: dict[DeviceKey, Evidence]
    ) -> str | None:
        try:
            found = await self._identities.resolve(context.integration_id, list(evidence), context.policy)
        except FAULTS as fault:
            return str(fault)
        missing = [label(key) for key in evidence if key not in found]
        if missing:
            return f"no device row for {min(missing)!r}, and the policy for unknown devices makes none"
        batch = Batch(replayed=[letter])
        for key, device_id in found.items():
            batch.add(device_id, Target(context.offline_after, context.source), evidence[key])
        try:
            gone = await self._applier.commit(batch)
        except FAULTS as fault:
            return str(fault)
        return "its device was deleted meanwhile: try again" if gone else None
