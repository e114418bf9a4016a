"""The catalog: the active integrations in the form in which each part of the service needs them.

One task reads the rows at every change, and every REREAD_S in case a change was not heard. Each view takes the rows
that concern it and parses them; a row that did not change is not parsed again, and one that is wrong is a fault with
its reason and costs no other row anything. Secrets that somebody wrote in the clear are encrypted in place.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from ingest.crypto import Keyring, is_encrypted, secret_context
from ingest.errors import Misconfigured, RollcallError
from ingest.integrations import secrets
from ingest.store.config.integrations import ChangeSignal, IntegrationRow, IntegrationRows

REREAD_S = 10.0
"""Seconds. The database signals a change at once; this is for the signal that is lost."""

log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


class Fault(NamedTuple):
    """An integration whose row cannot be used, and the reason, without a secret."""

    integration_id: UUID
    name: str
    reason: str


class View(Generic[Parsed]):
    """The rows that one part of the service needs, parsed. `parse` raises Misconfigured, naming the row and the key."""

    def __init__(
        self, wants: Callable[[IntegrationRow], bool], parse: Callable[[IntegrationRow], Parsed]
    ) -> None:
        self._wants = wants
        self._parse = parse
        self._rows: dict[UUID, IntegrationRow] = {}
        self._changed = asyncio.Event()
        self.valid: dict[UUID, Parsed] = {}
        self.faults: dict[UUID, Fault] = {}
        self.is_read = False
        """Whether the rows were read at all since the start."""

    async def read_again(self) -> None:
        """Wait until the rows were read once more since the last time that this returned."""
        await self._changed.wait()
        self._changed.clear()

    def update(self, rows: Sequence[IntegrationRow]) -> None:
        """Parse what is new or has changed, and drop what is gone."""
        wanted = {row.id: row for row in rows if self._wants(row)}
        for gone in self._rows.keys() - wanted.keys():
            self.valid.pop(gone, None)
            self.faults.pop(gone, None)
        for row in wanted.values():
            if self._rows.get(row.id) != row:
                self._update(row)
        self._rows, self.is_read = wanted, True
        self._changed.set()

    def _update(self, row: IntegrationRow) -> None:
        self.valid.pop(row.id, None)
        self.faults.pop(row.id, None)
        parsed = isolated(row.id, row.name, lambda: self._parse(row))
        if isinstance(parsed, Fault):
            self.faults[row.id] = parsed
        else:
            self.valid[row.id] = parsed


class Catalog:
    """Keeps views of the rows true."""

    def __init__(self, rows: IntegrationRows, keyring: Keyring, jitter: random.Random) -> None:
        self._rows = rows
        self._keyring = keyring
        self._jitter = jitter
        self._views: list[View[Any]] = []

    def view(
        self, wants: Callable[[IntegrationRow], bool], parse: Callable[[IntegrationRow], Parsed]
    ) -> View[Parsed]:
        """Return a view that is kept true from the next reading on."""
        view = View(wants, parse)
        self._views.append(view)
        return view

    async def run(self) -> None:
        """Read the rows at every change until cancelled."""
        while True:
            try:
                async with self._rows.changes() as changes:
                    await self._read_while_listening(changes)
            except RollcallError as error:
                log.warning("the integrations cannot be read: %s", error)
            await asyncio.sleep(self._jitter.uniform(0.1, 1.0))

    async def _read_while_listening(self, changes: ChangeSignal) -> None:
        while not changes.is_broken():
            changes.changed.clear()
            rows = await self._rows.active()
            for row in rows:
                await self._encrypt(row)
            for view in self._views:
                view.update(rows)
            with contextlib.suppress(TimeoutError):
                # not wait_for, which in Python 3.11 may swallow the cancellation that ends this
                async with asyncio.timeout(REREAD_S):
                    await changes.changed.wait()

    async def _encrypt(self, row: IntegrationRow) -> None:
        """Encrypt the secrets that somebody wrote in the clear, in place; they are used also where that fails."""
        if not self._keyring.can_encrypt:
            return
        for place, secret in secrets.of_row(row).items():
            if secret and not is_encrypted(secret):
                encrypted = self._keyring.encrypt(secret, secret_context(row.id, place))
                try:
                    await self._rows.replace_secret(row.id, place, secret, encrypted)
                except RollcallError as error:
                    log.warning("integration %s: %s stays in the clear: %s", row.name, place, error)


def isolated(integration_id: UUID, name: str, work: Callable[[], Parsed]) -> Parsed | Fault:
    """Return what `work` returns. Isolate its failure: log it, and return it as a fault.

    Of an unexpected error only the kind is logged: its text may hold a secret.
    """
    try:
        return work()
    except Misconfigured as error:
        reason = str(error)
    except Exception as error:
        reason = f"integration {name!r}: an error in Rollcall: {type(error).__name__}"
    log.error("%s", reason)
    return Fault(integration_id, name, reason)
