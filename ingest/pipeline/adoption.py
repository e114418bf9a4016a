"""What is parked is given to devices that have appeared, every few seconds as long as a side of the service runs."""

import asyncio
import logging
from collections.abc import Callable, Iterable
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


async def adopt_for_ever(parking: Parking, integrations: Callable[[], Iterable[Adopting]]) -> None:
    """Look every EVERY_S at the integrations of the moment; what goes wrong with one costs that one a turn."""
    while True:
        await asyncio.sleep(EVERY_S)
        for one in list(integrations()):
            try:
                await parking.adopt(one.integration_id, one.offline_after, matches_others=one.matches_others)
            except RollcallError as error:
                log.warning("integration %s: parked devices wait: %s", one.name, error)
            except Exception as error:
                told = "integration %s: parked devices wait: an error in Rollcall: %s"
                log.error(told, one.name, type(error).__name__)
