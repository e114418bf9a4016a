"""Commit a batch: one round trip, or one transaction where there is more than devices in it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from handlers.events import Micros
from ingest.errors import DatabaseAway, EventsKnown, Refused, SessionsLost, Unattributed
from ingest.store.commit.batch import Batch
from ingest.store.commit.columns import LOCK_PATIENCE, apply_arguments
from ingest.store.commit.facts import apply_facts
from ingest.store.commit.timeline import record
from ingest.store.errors import Contended, acquired, devices_gone, timeouts_as_faults
from ingest.store.queries import queries
from ingest.store.transaction import SingleConnectionPool

Connection = Any
"""asyncpg's Connection or pool proxy; asyncpg ships no complete types."""


TRIAL_PATIENCE = "250ms"
"""The same of a trial: whoever holds a row has been waited for before."""


class Applier:
    """Writes batches: one commit, and at most one pipelined after it; the caller is the process's only writer."""

    def __init__(
        self,
        pool: asyncpg.Pool | SingleConnectionPool,
        *,
        presence_resolution: Micros = 0,
        timeout_s: float = 30.0,
    ) -> None:
        self._pool = pool
        self._resolution = presence_resolution
        self._timeout_s = timeout_s

    def prepare(self, batch: Batch) -> None:
        """Build the arguments, so that `commit` has nothing to do but to send them."""
        batch.arguments = apply_arguments(batch, self._resolution)

    async def commit(self, batch: Batch, after: Mapping[int, int] = {}) -> list[UUID]:
        """Commit all of `batch` and return [], or commit nothing and return the ids of devices that are gone.

        `after`: only where this seq is the newest commit of the session; it waits for one that is under way.

        Raises: Refused, Unattributed (a row or message may be at fault), SessionsLost (of none where `after`
        is not the newest), EventsKnown, DatabaseAway (Contended where another writer was in the way).
        """
        try:
            async with acquired(self._pool, self._timeout_s) as connection, timeouts_as_faults():
                if not batch.has_extras:
                    await self._apply(connection, batch, after)
                else:
                    async with connection.transaction():
                        await self._apply(connection, batch, after)
                        await self._extras(connection, batch)
        except (Refused, DatabaseAway) as meaning:
            if gone := devices_gone(meaning.__cause__):
                return gone
            if not isinstance(meaning, Refused | Contended | Unattributed):
                # a connection may remember what was so when it was made: a read-only failover, another primary
                await self._pool.expire_connections()
            raise
        return []

    async def trial(self, batch: Batch) -> Refused | Unattributed | None:
        """Return what the database would refuse `batch` for, else None; all of it is rolled back.

        Raises: SessionsLost, EventsKnown, DatabaseAway.
        """
        try:
            async with acquired(self._pool, self._timeout_s) as connection, timeouts_as_faults():
                transaction = connection.transaction()
                await transaction.start()
                try:
                    await connection.execute(queries()["bound_trial"])
                    await self._apply(connection, batch, {}, TRIAL_PATIENCE)
                    await self._extras(connection, batch)
                    await connection.execute("set constraints all immediate")
                finally:
                    await transaction.rollback()
        except (Refused, Unattributed) as fault:
            return None if devices_gone(fault.__cause__) else fault
        return None

    async def locked(self, device_ids: Collection[UUID]) -> set[UUID]:
        """Return those of these devices whose rows somebody else holds locked now. Raises: Refused, DatabaseAway."""
        async with acquired(self._pool, self._timeout_s) as connection, connection.transaction():
            await connection.execute(queries()["bound_locks"], TRIAL_PATIENCE)  # somebody may hold the table
            rows = await connection.fetch(
                queries()["locked_devices"], list(device_ids), timeout=self._timeout_s
            )
        return {row[0] for row in rows}

    async def integrations_gone(self, integration_ids: Collection[UUID]) -> set[UUID]:
        """Return those of these integrations that have no row any more. Raises: Refused, DatabaseAway."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["integrations_gone"], list(integration_ids))
        return {row[0] for row in rows}

    async def _apply(
        self, connection: Connection, batch: Batch, after: Mapping[int, int], patience: str = LOCK_PATIENCE
    ) -> None:
        said = batch.arguments or apply_arguments(batch, self._resolution)
        said = said._replace(after=[after.get(one) for one in said.session_ids], patience=patience)
        gone = await connection.fetchval(queries()["apply"], *said, timeout=self._timeout_s)
        if gone is None:
            lost = await connection.fetch(queries()["sessions_lost"], said.session_ids, said.epochs)
            raise SessionsLost(frozenset((row["id"], row["epoch"]) for row in lost))

    async def _extras(self, connection: Connection, batch: Batch) -> None:
        if batch.has_facts:
            batch.decided = await apply_facts(connection, batch, timeout_s=self._timeout_s)
        rows: tuple[tuple[str, Sequence[tuple[Any, ...]]], ...] = (
            ("insert_dead_letters", batch.dead_letters),
            ("receive_qos2", batch.received),
            ("release_qos2", batch.released),
        )
        for name, mine in rows:
            if mine:
                await connection.execute(queries()[name], *zip(*mine, strict=True), timeout=self._timeout_s)
        if batch.event_ids:
            await self._remember_events(connection, batch)
        if batch.replayed:
            await connection.execute(
                queries()["delete_dead_letters"], batch.replayed, timeout=self._timeout_s
            )
        if batch.parked or batch.unparked:
            await write_parked(connection, batch)
        if batch.dropped:
            columns = zip(*sorted(batch.dropped.items()), strict=True)
            await connection.execute(queries()["count_dropped"], *columns, timeout=self._timeout_s)

    async def _remember_events(self, connection: Connection, batch: Batch) -> None:
        """Write the events' ids; who is first to commit one is the one who applies it. Raises: EventsKnown."""
        columns = [*zip(*batch.event_ids, strict=True)]
        status = await connection.execute(queries()["remember_events"], *columns, timeout=self._timeout_s)
        if int(status.rpartition(" ")[2]) < len(set(batch.event_ids)):
            rows = await connection.fetch(queries()["events_of_others"], *columns, timeout=self._timeout_s)
            raise EventsKnown(frozenset((row["integration_id"], row["event_id"]) for row in rows))


async def write_parked(connection: Connection, batch: Batch) -> None:
    """Upsert and delete parked rows; an id's first parking is a row of its integration's timeline.

    Raises: Contended where somebody else has parked what the same ids say since they were read.
    """
    if batch.parked:
        rows = await connection.fetch(queries()["park"], *zip(*batch.parked, strict=True))
        if len(rows) < len(batch.parked):
            raise Contended("somebody else has parked what the same ids say")
        fresh = [row for row in rows if row["is_new"]]
        ids = [row["external_device_id"] for row in fresh]
        await record(connection, "parked", [row["integration_id"] for row in fresh], {}, ids)
    if batch.unparked:
        await connection.execute(queries()["unpark"], *zip(*batch.unparked, strict=True))
