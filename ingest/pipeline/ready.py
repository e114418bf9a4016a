"""A batch that is made ready beside the commit before it, and sent ahead of its turn.

In the database it waits for the row of the session that both came by, which the commit before it holds: so Postgres
goes on from one to the other without waiting for us. All it says is evidence, so it may be first, too; acknowledgements
keep their order. What was sent ahead in vain is sent again in its turn.
"""

import asyncio
import logging
from uuid import UUID

from ingest.errors import RollcallError
from ingest.store.apply import Applier
from ingest.store.batch import Batch

log = logging.getLogger(__name__)


class Ready:
    """A batch whose commit is under way already, where `ahead` says so and the batch may be first."""

    def __init__(self, batch: Batch, applier: Applier, *, ahead: bool = False) -> None:
        self.batch = batch
        self._applier = applier
        self._sent = asyncio.create_task(self._send_ahead()) if ahead and batch.may_be_first else None

    async def commit(self) -> list[UUID]:
        """Return what `Applier.commit` returns, of the commit that is under way or of one now. Raises: the same."""
        sent, self._sent = self._sent, None
        gone = None if sent is None else await sent
        return await self._applier.commit(self.batch) if gone is None else gone

    def cancel(self) -> None:
        """Give up what is under way; whether it was committed shows when it comes again."""
        if self._sent is not None:
            self._sent.cancel()

    async def _send_ahead(self) -> list[UUID] | None:
        try:
            return await self._applier.commit(self.batch)
        except RollcallError as error:
            log.debug("sent ahead in vain: %s", error)
            return None
