"""The rows of device_integrations that Rollcall serves, and the news of their changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from ingest.store.database_url import connectable
from ingest.store.errors import DATABASE_ERRORS, acquired, translated
from ingest.store.queries import queries

CHANNEL = "rollcall_integrations"


class IntegrationRow(NamedTuple):
    """An active integration of type mqtt as it is stored."""

    id: UUID
    name: str
    settings: Any
    """An object, or whatever else somebody wrote there."""
    base_url: str | None = None
    operator_address: str | None = None
    """The address that an operator gave it (ingest/egress/address.py); None where no operator made it."""
    place: int = 0
    """Which one of its organization's it is, the oldest first; 0 where the operator made it."""
    secret: str = ""
    """The unguessable part of its sessions' names."""


class ChangeSignal(NamedTuple):
    """Set `changed` means read again; once `is_broken` says so nothing more will be heard."""

    changed: asyncio.Event
    is_broken: Callable[[], bool]


class IntegrationRows:
    """Reads the rows and listens to their changes. Methods raise DatabaseAway."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        direct_url: str,
        *,
        names: dict[UUID, str] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._pool = pool
        self.names = {} if names is None else names
        """Names of the integrations that were read since the start, for metrics and the log."""
        self._direct_url = direct_url
        self._timeout_s = timeout_s

    async def active(self) -> list[IntegrationRow]:
        """Return the active mqtt integrations; one that is read for the first time gets its secret."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["mqtt_integrations"], timeout=self._timeout_s)
            unnamed = [row["id"] for row in rows if row["secret"] is None]
            if unnamed:
                await connection.execute(queries()["name_sessions"], unnamed, timeout=self._timeout_s)
                rows = await connection.fetch(queries()["mqtt_integrations"], timeout=self._timeout_s)
                # one that was added between the two looks has no secret yet: its change is told, and it is read again
                rows = [row for row in rows if row["secret"] is not None]
        self.names.update({row["id"]: row["name"] for row in rows})
        return [
            IntegrationRow(
                r["id"],
                r["name"],
                settings_of(r["settings"]),
                r["base_url"],
                r["operator_address"],
                r["place"],
                r["secret"] or "",
            )
            for r in rows
        ]

    async def replace_secret(self, integration_id: UUID, place: str, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands; `place` is a path of the settings."""
        values = integration_id, found, encrypted, place.split(".")
        async with acquired(self._pool, self._timeout_s) as connection:
            await connection.execute(queries()["replace_setting"], *values)

    @contextlib.asynccontextmanager
    async def news(self) -> AsyncIterator[ChangeSignal]:
        """Listen: the event is set when a row may have changed, or when listening broke.

        Read the rows after entering, not before: what changed in between would be missed.
        """
        changed = asyncio.Event()
        database = connectable(self._direct_url)
        try:
            connection = await asyncpg.connect(database.url, timeout=database.timeout_s(self._timeout_s))
        except DATABASE_ERRORS as error:
            raise translated(error) from error
        try:
            connection.add_termination_listener(lambda _: changed.set())
            await connection.add_listener(CHANNEL, lambda *_: changed.set())
            yield ChangeSignal(changed, connection.is_closed)
        except DATABASE_ERRORS as error:
            raise translated(error) from error
        finally:
            connection.terminate()


def settings_object(stored: str | None) -> dict[str, Any]:
    """Return the settings; what is no object says nothing."""
    settings = settings_of(stored)
    return settings if isinstance(settings, dict) else {}


def settings_of(stored: str | None) -> Any:
    """Return the settings; those that cannot be read (JSON more than 1,024 deep) stay a text."""
    try:
        return orjson.loads(stored or "{}")
    except orjson.JSONDecodeError:
        return stored
