"""The rows of device_integrations: the one place where they are read, and the signal that they have changed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from ingest.store.database_url import connectable
from ingest.store.errors import DATABASE_ERRORS, acquired, translated
from ingest.store.queries import queries

CHANNEL = "rollcall_integrations"
API_KEY = "api_key_encrypted"
WEBHOOK_SECRET = "webhook_secret"  # noqa: S105
"""Columns that hold a secret; other places are paths of the settings."""
_COLUMN_UPDATES = {API_KEY: "replace_api_key", WEBHOOK_SECRET: "replace_webhook_secret"}


@dataclass(frozen=True, slots=True)
class IntegrationRow:
    """An integration as it is stored. No secret is in the repr."""

    id: UUID
    name: str
    settings: Any = field(repr=False)
    """An object, or whatever else somebody wrote there."""
    integration_type: str = "mqtt"
    project_id: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    webhook_enabled: bool = False
    webhook_secret: str | None = field(default=None, repr=False)
    operator_address: str | None = None
    """The address that an operator gave it (ingest/egress/address.py); None where no operator made it."""
    mqtt_place: int = 0
    """Its place among its organization's mqtt integrations, the oldest first; 0 where the operator made it."""
    webhook_place: int = 0
    """The same among those that take webhooks."""
    session_secret: str = field(default="", repr=False)
    """The unguessable part of its MQTT sessions' names."""

    @property
    def settings_object(self) -> dict[str, Any]:
        """The settings; what is no object says nothing."""
        return self.settings if isinstance(self.settings, dict) else {}


class ChangeSignal(NamedTuple):
    """Set `changed` means read again; once `is_broken` says so nothing more will be heard."""

    changed: asyncio.Event
    is_broken: Callable[[], bool]


class IntegrationRows:
    """Reads the rows and listens to their changes. Methods raise DatabaseAway."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        direct_url: str = "",
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
        """Return the active integrations; an mqtt one that is read for the first time gets its session secret."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(queries()["integrations"], None, timeout=self._timeout_s)
            unnamed = [row["id"] for row in rows if _lacks_secret(row)]
            if unnamed:
                await connection.execute(queries()["name_sessions"], unnamed, timeout=self._timeout_s)
                rows = await connection.fetch(queries()["integrations"], None, timeout=self._timeout_s)
                # one that was added between the two has no secret yet: its change is signalled, and read then
                rows = [row for row in rows if not _lacks_secret(row)]
        self.names.update({row["id"]: row["name"] for row in rows})
        return [_row(row) for row in rows]

    async def one(self, integration_id: UUID, *, active: bool = True) -> IntegrationRow | None:
        """Return one; None where there is none, or none that is active where that is asked for."""
        async with acquired(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(
                queries()["integrations"], integration_id, timeout=self._timeout_s
            )
        return None if row is None or (active and row["status"] != "active") else _row(row)

    async def replace_secret(self, integration_id: UUID, place: str, found: str, encrypted: str) -> None:
        """Put the encrypted form where `found` still stands; `place` is a column, or a path of the settings."""
        values = integration_id, found, encrypted
        async with acquired(self._pool, self._timeout_s) as connection:
            if update := _COLUMN_UPDATES.get(place):
                await connection.execute(queries()[update], *values)
            else:
                await connection.execute(queries()["replace_setting"], *values, place.split("."))

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[ChangeSignal]:
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


def _lacks_secret(row: asyncpg.Record) -> bool:
    return row["integration_type"] == "mqtt" and row["session_secret"] is None


def _row(row: asyncpg.Record) -> IntegrationRow:
    return IntegrationRow(
        row["id"], row["name"], settings_of(row["settings"]), row["integration_type"], row["project_id"],
        row["base_url"], row["api_key_encrypted"] or None, row["webhook_enabled"], row["webhook_secret"],
        row["operator_address"], row["mqtt_place"], row["webhook_place"], row["session_secret"] or "",
    )  # fmt: skip


def settings_of(stored: Any) -> Any:
    """Return the settings; those that cannot be read (JSON more than 1,024 deep) stay a text."""
    if stored is not None and not isinstance(stored, str):
        return stored
    try:
        return orjson.loads(stored or "{}")
    except orjson.JSONDecodeError:
        return stored
