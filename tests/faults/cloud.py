"""The provider of the devices that post: it knows all of them, changes them, and is asked again and again.

What it says of a device besides its cohort is older than any event: it must neither win nor get lost.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from tests.faults import webhooks
from tests.faults.rows import micros
from tests.servers.golioth import Golioth

API_KEY = "gk-of-the-faults"
EVERY_S = 0.2
BATTERY = 100
"""Percent; no event says as much."""


class Cloud:
    """A project at the fake Golioth, whose devices move from cohort to cohort until `stop`."""

    def __init__(self, chance: random.Random) -> None:
        self.golioth = Golioth(API_KEY, check_every=20)
        self._chance = chance
        self._stopping = False
        online_at = datetime.now(UTC) - timedelta(hours=1)
        offline_at = online_at - timedelta(minutes=1)
        self.seen = {f"g{n}": (micros(online_at), micros(offline_at)) for n in range(webhooks.DATED)}
        """When it has seen each online and offline, in microseconds since 1970."""
        facts = {"status": "-", "lastReport": _iso(online_at), "lastSeenOffline": _iso(offline_at)}
        for external_id in self.seen:
            self.golioth.add(external_id, metadata=facts, data={"battery": BATTERY}, updatedAt=_now())
            del self.golioth.devices[external_id]["lastReport"]
        for n in range(webhooks.NUMBERED):
            # what has no time of its own would be dated by when it is listed: nothing of that here
            self.golioth.add(f"h{n}", metadata={"status": "-"}, data={}, updatedAt=_now())
            del self.golioth.devices[f"h{n}"]["lastReport"]

    @property
    def cohorts(self) -> dict[str, str]:
        """Where each device is now."""
        return {name: device["cohortId"] for name, device in self.golioth.devices.items()}

    def stop(self) -> None:
        """Change nothing any more."""
        self._stopping = True

    async def run(self) -> None:
        """Move devices."""
        while not self._stopping:
            device = self.golioth.devices[f"g{self._chance.randrange(webhooks.DATED)}"]
            device |= {"cohortId": f"cohort{self._chance.randrange(1_000)}", "updatedAt": _now()}
            await asyncio.sleep(EVERY_S)


def _now() -> str:
    return _iso(datetime.now(UTC))


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
