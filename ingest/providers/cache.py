"""Providers that are cached: one an integration, so that its connections are used again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from ingest.providers.port import Provider

Row = TypeVar("Row")
FRESH_S = 10.0
"""How long a row counts as unchanged."""
CLOSED_AFTER_S = 120.0
"""A provider that was replaced goes on for those who still use it."""


@dataclass(slots=True)
class CachedProvider(Generic[Row]):
    """A provider, the row that it was made of, and when that was read."""

    row: Row
    provider: Provider
    read_at: float


class ProviderCache(Generic[Row]):
    """`await providers(integration_id)`: made when it is first asked for, anew when the row has changed.

    `read` returns what a provider is made of, which can be compared; `make` makes it. Both raise Misconfigured.
    """

    def __init__(self, read: Callable[[UUID], Awaitable[Row]], make: Callable[[Row], Provider]) -> None:
        self._read = read
        self._make = make
        self._cached: dict[UUID, CachedProvider[Row]] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._closing: set[asyncio.Task[Any]] = set()

    async def __call__(self, integration_id: UUID) -> Provider:
        """Return the provider of an integration; not the caller's to close. Raises: Misconfigured, DatabaseAway."""
        async with self._locks.setdefault(integration_id, asyncio.Lock()):
            now = asyncio.get_running_loop().time()
            cached = self._cached.get(integration_id)
            if cached is not None and now - cached.read_at < FRESH_S:
                return cached.provider
            row = await self._read(integration_id)
            if cached is None or cached.row != row:
                if cached is not None:
                    del self._cached[integration_id]
                    self._close_later(cached.provider)
                cached = self._cached[integration_id] = CachedProvider(row, self._make(row), now)
            cached.read_at = now
            return cached.provider

    async def aclose(self) -> None:
        """Close all of them."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(
            *(cached.provider.aclose() for cached in self._cached.values()), return_exceptions=True
        )
        self._cached.clear()

    def _close_later(self, provider: Provider) -> None:
        task = asyncio.create_task(_closed_later(provider), name="close a provider")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _closed_later(provider: Provider) -> None:
    try:
        await asyncio.sleep(CLOSED_AFTER_S)
    finally:
        with contextlib.suppress(Exception):
            await provider.aclose()
