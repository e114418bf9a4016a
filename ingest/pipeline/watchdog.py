"""The watchdog of the pipeline: how long the oldest message has waited for its commit, and why.

Whatever makes messages wait (a locked row, a slow statement, an error nobody thought of), it is in the log after
LATE_S, in /readyz and in a metric. Only where nothing at all is committed meanwhile is the process unfit for work.
"""

import asyncio
import logging
import time
from typing import NamedTuple

from ingest.pipeline.committer import Committer
from ingest.pipeline.intake import Intake

LATE_S = 5.0
LOOK_EVERY_S = 1.0
LOG_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """The oldest message or event that is not acknowledged: how long it has waited (seconds), and for what if known."""

    seconds: float
    why: str | None

    @property
    def is_late(self) -> bool:
        """Whether it has waited longer than a commit ever should."""
        return self.seconds > LATE_S


class Watchdog:
    """Looks every second; logs what is late once, and again every LOG_EVERY_S."""

    def __init__(self, intake: Intake, committer: Committer) -> None:
        self._intake = intake
        self._committer = committer

    def oldest(self) -> Waiting | None:
        """Return the oldest message that waits; None where none does."""
        batch = self._committer.in_hand
        since = self._intake.waiting_since if batch is None else batch.since
        if since is None:
            return None
        return Waiting(time.monotonic() - since, self._committer.waits_for)

    def stuck(self) -> str | None:
        """Return why the process does no work: a message is late and nothing was committed meanwhile; else None."""
        oldest = self.oldest()
        if oldest is None or not oldest.is_late or time.monotonic() - self._committer.committed_at < LATE_S:
            return None
        return f"nothing is committed, the oldest message waits: {oldest.why or 'its commit takes long'}"

    async def run(self) -> None:
        """Look until cancelled."""
        logged_at: float | None = None
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            oldest = self.oldest()
            if oldest is None or not oldest.is_late:
                if logged_at is not None:
                    log.info("no message waits for long any more")
                logged_at = None
            elif logged_at is None or time.monotonic() - logged_at >= LOG_EVERY_S:
                logged_at = time.monotonic()
                why = oldest.why or "its commit takes long"
                log.warning("a message has waited %.0f s to be acknowledged: %s", oldest.seconds, why)
