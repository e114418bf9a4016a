"""Rows of MQTT sessions: their digests, how far each was heard, and how it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from handlers.events import SECOND, Micros
from ingest.mqtt.port import Connected, Granted
from ingest.store.commit.timeline import record
from ingest.store.errors import acquired
from ingest.store.queries import queries

GAP: Micros = 60 * SECOND
"""Away for longer than this, a session starts hearing anew: devices get offline_after from then on to be heard."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it was left."""

    id: int
    epoch: int
    """Which taking up of it this is: what a former one has in hand is committed no more."""
    heard_until: Micros | None
    digests: Sequence[tuple[int, bytes]]
    """Packed digests of committed publishes, 10 bytes each, with the place of the newest: in the order of commits."""
    received: Sequence[tuple[int, int]]
    """QoS 2: (packet id, digest) of what was received and not released."""
    subscriptions: tuple[str, ...]
    """The filters that it was last granted."""
    gap_since: Micros | None = None
    """The beginning of its newest gap; None where it was never lost."""


@dataclass(frozen=True, slots=True)
class SlotOwnership:
    """Who lives and holds what, of one integration."""

    replicas: tuple[str, ...]
    """The leases of the living replicas."""
    holders: Mapping[str, str]
    """Lease of a session -> who holds it."""
    subscriptions: Mapping[str, tuple[str, ...]]
    """Client id of a session -> the filters that it was last granted."""
    held: frozenset[str] = frozenset()
    """The client ids of sessions whose lease somebody holds."""


class Sessions:
    """The rows of rollcall.mqtt_sessions and their digests. Every method raises DatabaseAway."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 30.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def open(self, integration_id: UUID, client_id: str) -> StoredSession:
        """Take up the session: return it as it was left, made where there was none."""
        async with acquired(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(queries()["open_session"], integration_id, client_id)
            digests = await connection.fetch(queries()["session_digests"], row["id"])
            received = await connection.fetch(queries()["session_received"], row["id"])
        return StoredSession(
            row["id"],
            row["epoch"],
            row["heard_until"],
            [tuple(one) for one in digests],
            [tuple(one) for one in received],
            _granted(row["subscriptions"]),
            row["gap_since"],
        )

    async def slot_ownership(
        self, integration_id: UUID, replicas: str, leases: Sequence[str]
    ) -> SlotOwnership:
        """Return who holds these leases and those that begin with `replicas`, and the integration's sessions."""
        async with acquired(self._pool, self._timeout_s) as connection:
            held = await connection.fetch(queries()["leases_held"], replicas, [*leases])
            sessions = await connection.fetch(queries()["integration_sessions"], integration_id)
        names = {row["name"]: row["holder"] for row in held}
        return SlotOwnership(
            tuple(name for name in names if name.startswith(replicas)),
            names,
            {row["client_id"]: _granted(row["subscriptions"]) for row in sessions},
            frozenset(row["client_id"] for row in sessions if row["is_held"]),
        )

    async def connected(
        self,
        stored: StoredSession,
        connected: Connected,
        granted: list[Granted],
        at: Micros,
        note: str = "",
        hidden: Callable[[str], str] = str,
    ) -> None:
        """Record a connection and what it has subscribed to; `hidden` makes a filter fit for people's eyes."""
        anew = not connected.session_present or stored.heard_until is None or at - stored.heard_until > GAP
        refused = [f"{hidden(g.topic_filter)}: {g.reason}" for g in granted if g.qos is None]
        detail = f"MQTT {connected.protocol}" + (f"; refused: {'; '.join(refused)}" if refused else "")
        detail += f"; {note}" if note else ""
        answers = orjson.dumps(
            [{"filter": g.topic_filter, "qos": g.qos, "reason": g.reason} for g in granted]
        )
        since = at if anew else None
        await self._execute("session_connected", stored.id, since, detail, answers.decode(), at)

    async def lost(self, integration_id: UUID, stored: StoredSession, *, session_present: bool) -> None:
        """Tell the timeline that messages may be missing since it was heard; without a session its digests go."""
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            if not session_present:
                await connection.execute(queries()["forget_digests"], stored.id)
            if stored.heard_until is not None:
                await connection.execute(queries()["session_gap"], stored.id, stored.heard_until)
                await _gap(
                    connection, [integration_id], stored.heard_until, "the broker has lost the session"
                )

    async def taken_over(self, integration_id: UUID, session_id: int) -> None:
        """Tell the timeline that whoever took a session over may have taken messages since it was last heard."""
        async with acquired(self._pool, self._timeout_s) as connection:
            heard_until = await connection.fetchval(queries()["session_heard_until"], session_id)
            if heard_until is not None:
                await _gap(connection, [integration_id], heard_until, "the session was taken over")

    async def newest_heard(self) -> Micros | None:
        """Return the newest time up to which a session was heard by a clock of ours; None where none ever was."""
        async with acquired(self._pool, self._timeout_s) as connection:
            newest: Micros | None = await connection.fetchval(
                queries()["newest_heard"], timeout=self._timeout_s
            )
        return newest

    async def set_back(self, latest: Micros, now: Micros) -> list[UUID]:
        """Let sessions that were heard up to later than `latest` be heard anew from `now` on, and tell the timeline.

        Return their integrations.
        """
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            rows = await connection.fetch(queries()["set_back"], latest, now, timeout=self._timeout_s)
            newest: dict[UUID, Micros] = {}
            for row in rows:
                one = row["integration_id"]
                newest[one] = max(row["heard_until"], newest.get(one, 0))
            for one, heard_until in newest.items():
                await _gap(connection, [one], heard_until, "the clock was set back")
        return list(newest)

    async def offline_since(self, integration_id: UUID, at: Micros, most: int) -> list[str]:
        """Return the external ids of devices, `most` of them at most, whose newest offline word is later than `at`."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(
                queries()["offline_since"], integration_id, at, most, timeout=self._timeout_s
            )
        return [row["external_device_id"] for row in rows]

    async def drained(self, session_id: int) -> None:
        """Record that nothing waits in a session any more: the broker may lose it from now on."""
        await self._execute("session_drained", session_id)

    async def forget(self, integration_id: UUID, client_id: str) -> None:
        """Delete a session that the broker has no more, with its digests."""
        await self._execute("forget_session", integration_id, client_id)

    async def set_state(self, session_id: int, state: str, detail: str) -> None:
        """Say how the session is: connected, away, refused, standby."""
        await self._execute("session_state", session_id, state, detail)

    async def heard(self, session_id: int, until: Micros) -> None:
        """Say how far a session has heard; a marker's commit does it by itself."""
        await self._execute("session_heard", session_id, until)

    async def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew a lease; False where another holds it."""
        async with acquired(self._pool, self._timeout_s) as connection:
            return bool(await connection.fetchval(queries()["lease"], name, holder, ttl_s) == holder)

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back."""
        await self._execute("release_lease", name, holder)

    async def _execute(self, name: str, *arguments: Any) -> None:
        async with acquired(self._pool, self._timeout_s) as connection:
            await connection.execute(queries()[name], *arguments, timeout=self._timeout_s)


def _granted(subscriptions: str) -> tuple[str, ...]:
    return tuple(one["filter"] for one in orjson.loads(subscriptions) if one["qos"] is not None)


async def _gap(connection: Any, integrations: Sequence[UUID], heard_until: Micros, why: str) -> None:
    await record(connection, "gap", integrations, {"heard_until": str(heard_until), "why": why})
