"""Apply files: a migration in a transaction with its record, or alone where it cannot be in one; functions together."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from ingest.errors import DatabaseAway, MigrationRefused
from ingest.migrate import ledger
from ingest.migrate.files import MigrationFile
from ingest.migrate.functions import FunctionFile, apply_functions
from ingest.migrate.session import CROWDED, Patience, named_failures
from ingest.store.errors import message_of

_BELOW_DEADLOCK_S = 0.5
"""Functions bring triggers and policies, and so lock many tables in one transaction. Postgres looks for deadlocks after
1 s: whoever gives up before that ends the deadlock, and nobody else's transaction is cancelled."""


@dataclass(frozen=True, slots=True)
class Applier:
    """Applies files over the connection that holds the runner's lock."""

    connection: asyncpg.Connection
    patience: Patience
    tell: Callable[[str], None]
    warn: Callable[[str], None]

    async def apply(self, file: MigrationFile) -> bool:
        """Apply and record a file; False when old rows violate it and it was skipped with a warning.

        Raises: MigrationRefused when the file cannot be applied, DatabaseAway when it found no lock in time.
        """
        self.tell(f"applying {file.name}")
        try:
            step = self._in_one_transaction if file.transactional else self._alone
            await self._patiently(file.name, lambda: step(file))
        except asyncpg.IntegrityConstraintViolationError as error:
            await self._patiently(file.name, lambda: self._drop_invalid(file))
            if file.repair is None:
                raise MigrationRefused(f"{file.name}: {_violation(error)}") from error
            reason = " ".join(_violation(error).split())
            self.warn(f"{file.name} was skipped: {reason}. To repair: {file.repair}; then migrate again")
            return False
        return True

    async def apply_functions(self, files: Sequence[FunctionFile], pending: set[str], release: str) -> None:
        """Apply and record the pending files of functions, all or none.

        Raises: MigrationRefused when a file cannot be applied, DatabaseAway when there was no lock in time.
        """
        for name in sorted(pending):
            self.tell(f"applying {name}")

        async def step() -> None:
            async with self.connection.transaction():
                timeout_s = min(self.patience.lock_timeout_s, _BELOW_DEADLOCK_S)
                await self.connection.execute(f"set local lock_timeout = {timeout_s * 1000:.0f}")
                await apply_functions(self.connection, files, pending, release)

        await self._patiently("functions", step)

    async def is_broken(self, file: MigrationFile) -> bool:
        """Return whether the file's index is there but invalid: a build that was cut short left it."""
        if file.index is None:
            return False
        broken: bool = await self.connection.fetchval(
            """
            select exists (
                select from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
                join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = $2 and not i.indisvalid)
            """,
            *file.index,
        )
        return broken

    async def rebuild(self, file: MigrationFile) -> None:
        """Build the file's invalid index again."""
        self.tell(f"rebuilding the index of {file.name}")
        await self._patiently(file.name, lambda: self._build(file))

    async def _in_one_transaction(self, file: MigrationFile) -> None:
        async with self.connection.transaction():
            await self.connection.execute(
                f"set local lock_timeout = {self.patience.lock_timeout_s * 1000:.0f}"
            )
            if not await self._needless(file):
                await self.connection.execute(file.sql)
            await ledger.record(self.connection, file)

    async def _alone(self, file: MigrationFile) -> None:
        await self._build(file)
        await ledger.record(self.connection, file)

    async def _build(self, file: MigrationFile) -> None:
        await self._drop_invalid(file)
        if await self._needless(file):
            return
        await self._concurrently(file.sql)

    async def _needless(self, file: MigrationFile) -> bool:
        return file.unless is not None and bool(await self.connection.fetchval(file.unless))

    async def _drop_invalid(self, file: MigrationFile) -> None:
        if file.index is not None and await self.is_broken(file):
            schema, name = file.index
            await self._concurrently(f"drop index concurrently if exists {schema}.{name}")

    async def _concurrently(self, statement: str) -> None:
        await self.connection.execute(f"set lock_timeout = {self.patience.concurrent_timeout_s * 1000:.0f}")
        await self.connection.execute(statement)

    async def _patiently(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        attempts = self.patience.attempts
        for attempt in range(1, attempts + 1):
            try:
                with named_failures(name):
                    return await step()
            except CROWDED as error:
                busy = await self._open_transactions()
                self.tell(f"{name}: {error.args[0]}; attempt {attempt} of {attempts}; open now: {busy}")
                await asyncio.sleep(random.uniform(0, self.patience.pause_s))
        raise DatabaseAway(f"{name}: no lock after {attempts} attempts; open transactions: {busy}")

    async def _open_transactions(self) -> str:
        rows = await self.connection.fetch(
            """
            select pid, coalesce(nullif(application_name, ''), usename, '?') as who,
                extract(epoch from pg_catalog.clock_timestamp() - xact_start)::int as age_s
            from pg_catalog.pg_stat_activity
            where datname = pg_catalog.current_database() and xact_start is not null
                and pid <> pg_catalog.pg_backend_pid()
            order by xact_start limit 3
            """
        )
        return ", ".join(f"{r['who']} (pid {r['pid']}, for {r['age_s']} s)" for r in rows) or "none"


def _violation(error: asyncpg.IntegrityConstraintViolationError) -> str:
    """Return what violates a constraint: a key that comes twice or leads nowhere is named, a row is not quoted."""
    detail = error.detail or ""
    return f"{message_of(error)} {detail}" if detail.startswith("Key (") else message_of(error)
