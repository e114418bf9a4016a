"""The clock at the start: what comes now is never dated before what came in the run before."""

import logging

from handlers.events import SECOND, Micros
from ingest.clock import StrictClock
from ingest.store.commit.sessions import Sessions

log = logging.getLogger(__name__)


async def resume_clock(clock: StrictClock, sessions: Sessions, max_ahead_s: float) -> None:
    """Let the clock go on from the newest time up to which a session was heard, where that is ahead of the wall clock.

    Further ahead than `max_ahead_s` it was wrong then, or is now: the wall clock counts, with an error and a gap.
    Raises: DatabaseAway.
    """
    now, newest = clock(), await sessions.newest_heard()
    if newest is None or newest <= now:
        return
    latest: Micros = now + int(max_ahead_s * SECOND)
    if newest > latest:
        integrations = await sessions.set_back(latest, now)
        told = (
            "the clock was set back by %.0f s since the last run: it counts, and %d integrations have a gap"
        )
        log.error(told, (newest - now) / SECOND, len(integrations))
        newest = await sessions.newest_heard() or now
    if newest - now > SECOND:  # less is what replicas' clocks differ by
        log.warning(
            "the clock was set back by %.1f s: times go on from where they were", (newest - now) / SECOND
        )
    clock.resume(min(newest, latest))
