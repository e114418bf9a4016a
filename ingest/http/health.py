"""How the process is: whether it lives, whether it can do its work, and how far its sessions have heard."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from handlers.events import SECOND, Micros
from ingest.errors import RollcallError
from ingest.integrations.catalog import Fault
from ingest.mqtt.port import Clock
from ingest.pipeline.watchdog import Waiting
from ingest.sessions.supervisor import Held
from ingest.store.people.health import HealthRows, SessionHealth

WITHIN_S = 2.0
FRESH_S = 1.0
"""One look at the database serves everybody who asks within this time."""
AT_WORK = ("connected", "unheld")
"""A session that nobody holds is taken up within a lease's term: it makes no replica unfit for the rest of its work."""
JSON = "application/json"
HIDDEN = "its reason is in the log, and here for a token of scope read"
Readable = Callable[[str], Awaitable[frozenset[UUID] | None]]


async def _nothing(_: str) -> None:
    """Take no token."""


class Snapshot(NamedTuple):
    """One look. `outage` says why the database cannot be written.

    Where it cannot be read, `sessions` has only the integrations that are misconfigured.
    """

    outage: str | None
    expected: int
    sessions: list[SessionHealth]

    @property
    def is_ready(self) -> bool:
        """Whether the database can be written and, where there are sessions, at least one is at work."""
        at_work = any(session.state in AT_WORK for session in self.sessions)
        return self.outage is None and (not self.expected or at_work)


class Status:
    """Looks at most once a FRESH_S.

    `outage` is the committer's, `sessions` should run, `misconfigured` cannot, `slots` run here;
    `oldest` is the message that has waited longest for its commit;
    `readable` returns the integrations that a bearer token may read, None for a token that is not valid.
    """

    def __init__(
        self,
        rows: HealthRows,
        outage: Callable[[], str | None],
        sessions: Callable[[], list[tuple[UUID, str]]],
        misconfigured: Callable[[], list[Fault]],
        slots: Callable[[], list[Held]],
        oldest: Callable[[], Waiting | None],
        clock: Clock,
        readable: Readable = _nothing,
    ) -> None:
        self._rows = rows
        self._outage = outage
        self._sessions = sessions
        self._misconfigured = misconfigured
        self.slots = slots
        self.oldest = oldest
        self._clock = clock
        self._readable = readable
        self._turn = asyncio.Lock()
        self._last: tuple[float, Snapshot] | None = None

    async def look(self) -> Snapshot:
        """Return how it is, within WITHIN_S."""
        now = asyncio.get_running_loop().time()
        async with self._turn:
            if self._last is None or now - self._last[0] > FRESH_S:
                self._last = asyncio.get_running_loop().time(), await self._looked()
            return self._last[1]

    async def _looked(self) -> Snapshot:
        wanted, faulty = self._sessions(), [_without_session(one) for one in self._misconfigured()]
        expected = len(wanted) + len(faulty)
        if (outage := self._outage()) is not None:
            return Snapshot(outage, expected, faulty)
        try:
            async with asyncio.timeout(WITHIN_S):
                here = [one.integration_id for one in self.slots() if one.held]
                health = await self._rows.read(wanted, here)
        except TimeoutError:
            return Snapshot("the database does not answer", expected, faulty)
        except RollcallError as error:
            return Snapshot(str(error), expected, faulty)
        outage = "the database is read-only" if health.read_only else None
        return Snapshot(outage, expected, [*health.sessions, *faulty])

    def lag(self, session: SessionHealth) -> float | None:
        """Return the seconds since the session has heard all, or None where it never has."""
        return None if session.heard_until is None else seconds(self._clock() - session.heard_until)

    async def healthz(self, _: Request) -> Response:
        """Answer: the event loop turns."""
        return Response(b'{"status":"alive"}', media_type=JSON)

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when the work can be done, else 503.

        Reasons, names and ids are shown to a token of scope `read` alone: of its organization's integrations.
        """
        snapshot, oldest, mine = await self.look(), self.oldest(), await self._mine(request)
        is_shown = mine is not None
        outage = snapshot.outage if is_shown or snapshot.outage is None else HIDDEN
        body: dict[str, Any] = {
            "ready": snapshot.is_ready,
            "database": {"writable": snapshot.outage is None, "outage": outage},
            "oldestUnacknowledged": None if oldest is None else _waiting(oldest, is_shown=is_shown),
        }
        if mine is not None:
            body["sessions"] = [self._told(one) for one in snapshot.sessions if one.integration_id in mine]
            body["slots"] = [
                {"integration": one.name, "held": one.held, "of": one.of}
                for one in self.slots()
                if one.integration_id in mine
            ]
        return Response(orjson.dumps(body), 200 if snapshot.is_ready else 503, media_type=JSON)

    async def _mine(self, request: Request) -> frozenset[UUID] | None:
        """Return the integrations that the request's token may read; None without a token that could be checked."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.isascii():
            return None
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self._readable(token.strip())
        except (TimeoutError, RollcallError):
            return None

    def _told(self, session: SessionHealth) -> dict[str, Any]:
        return {
            "integration": session.name,
            "integrationId": str(session.integration_id),
            "clientId": session.client_id,
            "state": session.state,
            "detail": session.detail,
            "lagSeconds": self.lag(session),
        }


def seconds(micros: Micros) -> float:
    """Return microseconds as seconds, not below zero."""
    return max(0, micros) / SECOND


def _waiting(oldest: Waiting, *, is_shown: bool) -> dict[str, Any]:
    """Return what waits for its commit, without the reason for who may not see it."""
    told = {"seconds": round(oldest.seconds, 3), "late": oldest.is_late}
    return {**told, "why": oldest.why} if is_shown else told


def _without_session(fault: Fault) -> SessionHealth:
    return SessionHealth(fault.integration_id, fault.name, None, "misconfigured", fault.reason, None)
