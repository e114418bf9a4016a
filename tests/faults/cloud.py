"""The provider of the devices that post: it knows all of them, changes them, and is asked again and again."""

import asyncio
import random
from datetime import UTC, datetime

from tests.faults import webhooks
from tests.servers.golioth import Golioth

API_KEY = "gk-of-the-faults"
EVERY_S = 0.2


class Cloud:
    """A project at the fake Golioth, whose devices move from cohort to cohort until `stop`."""

    def __init__(self, chance: random.Random) -> None:
        self.golioth = Golioth(API_KEY, check_every=20)
        self._chance = chance
        self._stopping = False
        ids = [f"g{n}" for n in range(webhooks.DATED)] + [f"h{n}" for n in range(webhooks.UNDATED)]
        for external_id in ids:
            # what has no time of its own would be dated by when it is listed: nothing of that here
            metadata = {"status": "-"}
            del self.golioth.add(external_id, metadata=metadata, data={}, updatedAt=_now())["lastReport"]

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
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
