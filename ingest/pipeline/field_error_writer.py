"""Writes the newest errors of devices' fields, a second after they were noted, beside the commits of telemetry.

They are no part of a commit: a flood of bad values costs the messages beside them nothing, and what cannot be written
here is only missing from a page.
"""

import asyncio
import logging
import random

from handlers.text import MAX_ERROR, fitted
from ingest.errors import DatabaseAway, Refused, Unattributed
from ingest.pipeline.field_errors import Due, FieldErrors
from ingest.store.commit.field_errors import FieldErrorRow, FieldErrorRows

EVERY_S = 1.0
AWAY_S = 10.0
"""The pause where the database is away."""
MAX_TEXT = 128
"""Characters of a field's name and of its value."""

log = logging.getLogger(__name__)


class FieldErrorWriter:
    """Writes what is due, once a second and in bounded portions."""

    def __init__(self, field_errors: FieldErrors, rows: FieldErrorRows, jitter: random.Random) -> None:
        self._field_errors = field_errors
        self._rows = rows
        self._jitter = jitter

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.write()
            except DatabaseAway as away:
                log.debug("errors of fields are not written: %s", away)
                await asyncio.sleep(AWAY_S * self._jitter.uniform(0.5, 1.5))

    async def write(self) -> None:
        """Write what is due. What the database refuses, or a device's locked row, is left out. Raises: DatabaseAway."""
        due = self._field_errors.due()
        if not due:
            return
        try:
            await self._rows.keep([_row(one) for one in due])
        except (Refused, Unattributed) as fault:
            log.warning("errors of %d fields are not kept: %s", len(due), fault)
        self._field_errors.settle(due)


def _row(due: Due) -> FieldErrorRow:
    """Return the row of an error, its texts short and storable whatever made them."""
    error = due.noted.error
    return FieldErrorRow(
        due.device_id,
        fitted(due.field, MAX_TEXT),
        fitted(error.value, MAX_TEXT),
        fitted(error.error, MAX_ERROR),
        due.noted.at,
    )
