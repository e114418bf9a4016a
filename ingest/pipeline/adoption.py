"""Adoption: what is parked is applied to devices that have appeared since, every few seconds."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from handlers.events import Micros
from ingest.errors import RollcallError
from ingest.store.commit.parking import Parking

EVERY_S = 5.0

log = logging.getLogger(__name__)


class Adopting(NamedTuple):
    """An integration that may have parked ids."""

    integration_id: UUID
    name: str
    offline_after: Micros
    matches_others: bool = True


AdoptingOf = Callable[[], Iterable[Adopting]]


class Adoption:
    """Applies what is parked for devices that have appeared."""

    def __init__(self, parking: Parking, integrations: Sequence[AdoptingOf]) -> None:
        self._parking = parking
        self._integrations = integrations

    async def run(self) -> None:
        """Look every EVERY_S at the integrations of the moment, until cancelled; a failing one is isolated."""
        while True:
            await asyncio.sleep(EVERY_S)
            for integration in [one for adopting in self._integrations for one in adopting()]:
                await self._adopt(integration)

    async def _adopt(self, integration: Adopting) -> None:
        try:
            await self._parking.adopt(
                integration.integration_id,
                integration.offline_after,
                matches_others=integration.matches_others,
            )
        except RollcallError as error:
            log.warning("integration %s: parked devices wait: %s", integration.name, error)
        except Exception as error:
            message = "integration %s: parked devices wait: an error in Rollcall: %s"
            log.error(message, integration.name, type(error).__name__)
