"""A segment of observations that the service made itself, as the API does of a provider's live answer."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Optional

from handlers.events import DeadReason, DeviceKey, Observation
from handlers.evidence import coalesce
from ingest.pipeline.open_batch import OpenBatch
from ingest.pipeline.segment import GONE, UNKEPT, IntegrationContext, Superseded
from ingest.store.commit.batch import Batch

log = logging.getLogger(__name__)


class ObservedSegment:
    """Observations that are one entry: a `Segment` of a batch. `done` is resolved once it is committed.

    Nobody sent them, so nothing recognises them when they come again, and what is refused of them is logged.
    """

    __slots__ = ("_context", "_done", "_fate", "_observations")

    def __init__(
        self,
        context: IntegrationContext,
        observations: Sequence[Observation],
        done: asyncio.Future[None],
        fate: DeadReason | None = None,
    ) -> None:
        self._context = context
        self._observations = observations
        self._done = done
        self._fate = fate

    def __len__(self) -> int:
        """Return the number of entries: one."""
        return 1

    @property
    def context(self) -> IntegrationContext:
        """The integration whose devices were observed."""
        return self._context

    def fill(self, batch: OpenBatch) -> None:
        """Put the observations into their devices' evidence."""
        if self._fate is None:
            coalesce(self._observations, batch.evidence_of(self._context))
        elif self._fate not in UNKEPT:
            batch.counts.rejections.count_dead_letter(self._context.integration_id, self._fate.kind)
            log.warning("an observation of the service's own is refused: %s", self._fate.error)
        batch.counts.received += 1

    def without(self, superseded: Superseded) -> Optional["ObservedSegment"]:
        """Return it with its one entry not applied where that is among these."""
        fate = GONE if self._context.integration_id in superseded.integrations else superseded.fates.get(0)
        if fate is None or self._fate is not None:
            return self
        return ObservedSegment(self._context, self._observations, self._done, fate)

    def devices_of_entries(self) -> list[Collection[DeviceKey]]:
        """Return the devices of the one entry."""
        return [() if self._fate is not None else {seen.device for seen in self._observations}]

    def record(self, batch: Batch) -> None:
        """Record nothing: nobody sends it again."""

    def acknowledge(self) -> None:
        """Resolve `done`."""
        if not self._done.done():
            self._done.set_result(None)
