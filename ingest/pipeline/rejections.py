"""Rejections: input that was not used, counted by integration for metrics, and logged once a minute and kind.

A log line holds no payload, no value and no header: those stay in the dead letter and in the row of the field's error.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from uuid import UUID

from handlers.events import DeviceKey, FieldError, Micros
from handlers.fields import field_label, field_name
from ingest.log import LogLimit
from ingest.pipeline.field_errors import FieldErrors

NO_NAMES: Final[Mapping[UUID, str]] = MappingProxyType({})

log = logging.getLogger(__name__)


class Rejections:
    """Counts since the start, by integration (`names`). Without `field_errors` nothing is logged or kept."""

    def __init__(self, names: Mapping[UUID, str] = NO_NAMES, field_errors: FieldErrors | None = None) -> None:
        self.names = names
        self._field_errors = field_errors
        self._limit = LogLimit()
        self.dead_letters: Counter[tuple[UUID, str]] = Counter()
        """By integration and kind; of `refused.<sqlstate>` only `refused`."""
        self.fields: Counter[tuple[UUID, str]] = Counter()
        """By integration and label of the field."""
        self.unknown: Counter[UUID] = Counter()
        """Unknown devices that were not kept."""

    def count_dead_letter(self, integration_id: UUID, kind: str, count: int = 1) -> None:
        """Count dead letters of one kind."""
        self.dead_letters[integration_id, kind.partition(".")[0]] += count
        self._tell(integration_id, kind, "%d messages are dead letters: %s", count)

    def drop_unknown(self, dropped: Mapping[UUID, int]) -> None:
        """Count unknown devices that were not kept, by integration."""
        for integration_id, count in dropped.items():
            if count:
                self.unknown[integration_id] += count
                self._tell(integration_id, "unknown devices", "%d times nothing was kept of %s", count)

    def misread(
        self, integration_id: UUID, device: DeviceKey | None, errors: Sequence[FieldError], at: Micros
    ) -> None:
        """Count fields that could not be used in a message received at `at`; note them for its device if known."""
        for error in errors:
            label = field_label(field_name(error))
            self.fields[integration_id, label] += 1
            self._tell(integration_id, label, "%d fields could not be used: %s", 1, device)
        if self._field_errors is not None and device is not None:
            self._field_errors.note(integration_id, device, errors, at)

    def answer(self, integration_id: UUID | None, status: int) -> None:
        """Log a webhook request that was answered with 4xx; None: it named no integration that takes webhooks."""
        if 400 <= status < 500:
            told = f"{status} {HTTPStatus(status).phrase}"
            self._tell(integration_id, told, "%d webhook requests were answered with %s", 1)

    def name(self, integration_id: UUID | None) -> str:
        """Return an integration's name for people: "" for None, the id where the name is not known."""
        return "" if integration_id is None else self.names.get(integration_id, str(integration_id))

    def _tell(
        self, integration_id: UUID | None, kind: str, text: str, count: int, device: DeviceKey | None = None
    ) -> None:
        """Log how often it happened since the last line about this, if a line is due; with the device that was last."""
        if self._field_errors is None:
            return
        happened = self._limit.count((integration_id, text, kind), count)
        if happened:
            last = f" (device {device.external_id!a})" if device and device.external_id else ""
            name = self.name(integration_id) or "unknown"
            log.warning("integration %s: %s%s", name, text % (happened, kind), last)
