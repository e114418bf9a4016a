"""A batch that is made ready beside the commit before it, and sent ahead of its turn.

In the database it waits for the row of the session that both came by, which the commit before it holds: so Postgres
goes on from one to the other without waiting for us. It applies only where that commit has succeeded; else, and
whatever else goes wrong, it is sent again in its turn.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Optional
from uuid import UUID

from ingest.errors import RollcallError
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch

log = logging.getLogger(__name__)


class Ready:
    """A batch whose commit is under way already, where the one it comes behind is known and shares a session."""

    def __init__(self, batch: Batch, applier: Applier, *, behind: Optional["Ready"] = None) -> None:
        self.batch = batch
        self._applier = applier
        self._sent: asyncio.Task[list[UUID] | None] | None = None
        if behind is not None and not batch.has_extras:
            mine = {session_id for session_id, _ in batch.epochs}
            shared = {one: seq for one, seq in behind.batch.newest.items() if one in mine}
            if shared:
                self._sent = asyncio.create_task(self._send_ahead(shared))

    async def commit(self) -> list[UUID]:
        """Return what `Applier.commit` returns, of the commit that is under way or of one now. Raises: the same."""
        sent, self._sent = self._sent, None
        gone = None if sent is None else await sent
        return await self._applier.commit(self.batch) if gone is None else gone

    def cancel(self) -> None:
        """Give up what is under way; whether it was committed shows when it comes again."""
        if self._sent is not None:
            self._sent.cancel()

    async def _send_ahead(self, behind: Mapping[int, int]) -> list[UUID] | None:
        try:
            return await self._applier.commit(self.batch, behind)
        except RollcallError as error:
            log.debug("sent ahead in vain: %s", error)
            return None
