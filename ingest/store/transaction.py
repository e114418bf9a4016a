"""One transaction over several parts: a pool of the one connection on which the transaction is open."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias

import asyncpg

Connection = Any
"""asyncpg's Connection or pool proxy; asyncpg ships no complete types."""
Pool: TypeAlias = asyncpg.Pool


class SingleConnectionPool:
    """Stands in for a pool, so that several parts' work is one transaction: committed or rolled back as a whole."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Return the one connection; it is not given back."""
        return nullcontext(self._connection)

    async def expire_connections(self) -> None:
        """Do nothing: whoever opened the connection decides."""
