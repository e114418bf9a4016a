"""How many devices the database refused lately: a few are bad data, many for one reason are an outage."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from time import monotonic
from uuid import UUID

WINDOW_S = 600.0
FEW = 10
"""Devices refused for one reason that are no outage, however small the fleet; of a large one 1 % of those heard."""
MAX_HEARD = 1_000_000


class RefusedDevices:
    """Devices refused within WINDOW_S, by SQLSTATE. Those heard are counted only while some device is refused."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._refused: defaultdict[str, dict[UUID, float]] = defaultdict(dict)
        self._heard: set[UUID] = set()
        self._newest = 0.0

    def heard(self, devices: Iterable[UUID]) -> None:
        """Count devices that were committed; where nothing was refused within the window nobody need be counted."""
        if not self._refused:
            return
        if self._clock() - self._newest > WINDOW_S:
            self._refused.clear()
            self._heard.clear()
        elif len(self._heard) < MAX_HEARD:
            self._heard.update(devices)

    def found_among(self, devices: Iterable[UUID]) -> None:
        """Count the devices of a batch in which some are refused."""
        self._newest = self._clock()
        self._heard.update(devices)

    def too_many(self, sqlstate: str, devices: Iterable[UUID]) -> bool:
        """Count devices that were refused; return whether more are for this reason than bad data explains."""
        now = self._newest = self._clock()
        refused = self._refused[sqlstate]
        for device in devices:
            refused[device] = now
        for device, at in list(refused.items()):
            if now - at > WINDOW_S:
                del refused[device]
        return len(refused) > max(FEW, len(self._heard | refused.keys()) // 100)
