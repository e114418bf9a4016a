"""What a cloud posts: numbered events with ids, each sent again until it is answered 2xx, to whichever replica runs."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import httpx
import orjson

DATED, UNDATED = 40, 2
"""Devices of each kind: the events of some have a time, those of the others count when they come."""
EVERY_S = 0.02
PATIENCE_S = 12.0
"""Longer than Rollcall takes to answer in any case."""
CLOUDEVENT = {"content-type": "application/cloudevents+json"}


class Webhooks:
    """Posts until `stop`. `ports` are those of the replicas that run now."""

    def __init__(self, integration: object, ports: Callable[[], Sequence[int]], chance: random.Random):
        self._integration = integration
        self._ports = ports
        self._chance = chance
        self._number = 0
        self._stopping = False
        self.answered: list[bytes] = []
        """Events with a time that were answered 2xx."""
        self.versions: set[str] = set()
        """What the events without one said, each once; answered 2xx as well."""
        self.refusals = 0

    def stop(self) -> None:
        """Send nothing new; `run` ends once everything is answered."""
        self._stopping = True

    async def run(self) -> None:
        """Post one event after another."""
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            while not self._stopping:
                self._number += 1
                event, version = self._event()
                await self._until_answered(client, event)
                self.answered.append(event) if version is None else self.versions.add(version)
                await asyncio.sleep(EVERY_S)

    async def _until_answered(self, client: httpx.AsyncClient, event: bytes) -> None:
        while True:
            ports = self._ports()
            if ports:
                url = f"http://127.0.0.1:{self._chance.choice(ports)}/webhooks/{self._integration}"
                try:
                    answer = await client.post(url, content=event, headers=CLOUDEVENT)
                except httpx.TransportError:
                    pass
                else:
                    if answer.is_success:
                        return
                    assert answer.status_code in (404, 429, 503), answer.text
                self.refusals += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    def _event(self) -> tuple[bytes, str | None]:
        """Return an event, and the version in it where it has no time."""
        n = self._number
        event: dict[str, object] = {
            "specversion": "1.0", "id": f"e{n}", "source": "/cloud", "type": "reading", "subject": f"g{n % DATED}",
        }  # fmt: skip
        if n % 5 == 0:
            version = f"w{n}"
            event |= {"subject": f"h{n // 5 % UNDATED}", "data": {"fw": version}}
            return orjson.dumps(event), version
        data: dict[str, object] = {"battery": n % 101}
        if n % 7 == 0:
            data = {"status": "offline"}
        if n % 13 == 0:
            data["fw"] = f"g{n // 200}"
        event |= {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{n % 1_000:03d}Z",
            "data": data,
        }
        return orjson.dumps(event), None
