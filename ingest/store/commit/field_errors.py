"""The newest error of each field of a device, as rows."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from handlers.events import Micros
from ingest.store.errors import acquired, timeouts_as_faults
from ingest.store.queries import queries

KEPT = 32
"""Fields of one device, the newest."""


class FieldErrorRow(NamedTuple):
    """What stood in a field, why it could not be used, and when its message was received."""

    device_id: UUID
    field: str
    value: str
    reason: str
    at: Micros


class FieldErrorRows:
    """Writes the rows."""

    def __init__(self, pool: asyncpg.Pool, *, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def keep(self, rows: Sequence[FieldErrorRow]) -> None:
        """Write these, one a device and field; a device that is gone, or whose row somebody locks, is passed over.

        Raises: Refused, Unattributed, DatabaseAway.
        """
        devices = list({row.device_id for row in rows})
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with (
            acquired(self._pool, self._timeout_s) as connection,
            timeouts_as_faults(),
            connection.transaction(),
        ):
            await connection.execute(queries()["keep_field_errors"], *columns, timeout=self._timeout_s)
            await connection.execute(queries()["trim_field_errors"], devices, KEPT, timeout=self._timeout_s)
