"""A cloud that posts: events with ids, each until it is answered 2xx, to whichever replica runs, some twice.

Those without a time count when they come: they are numbered as in tests/faults/workload.py, and come exactly once.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import httpx
import orjson

from tests.faults.workload import EACH
from tests.http_client import http_client

DATED, NUMBERED = 40, 200
"""Devices of each kind; of the numbered ones one speaks after the other."""
EVERY_S = 0.02
AGAIN = 0.1
"""How many events are posted twice although they were answered, half of them to two replicas at once."""
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
        self.dated: list[bytes] = []
        """Events with a time that were answered 2xx."""
        self.numbered: dict[int, bytes] = {}
        """Those without one, by number; answered 2xx as well."""
        self.refusals = 0

    def stop(self) -> None:
        """Send nothing new; `run` ends once everything is answered."""
        self._stopping = True

    async def run(self) -> None:
        """Post one event after another."""
        async with http_client(timeout=PATIENCE_S) as client:
            while not self._stopping:
                self._number += 1
                number = self._number // 5
                if self._number % 5 == 0 and number < NUMBERED * EACH:
                    event = self._by_number(number)
                    await self._post(client, event)
                    self.numbered[number] = event
                else:
                    event = self._dated()
                    await self._post(client, event)
                    self.dated.append(event)
                await asyncio.sleep(EVERY_S)

    async def _post(self, client: httpx.AsyncClient, event: bytes) -> None:
        """Post it until it is answered, or twice."""
        chance = self._chance.random()
        if chance < AGAIN / 2:
            await asyncio.gather(*(self._until_answered(client, event) for _ in range(2)))
            return
        await self._until_answered(client, event)
        if chance < AGAIN:
            await self._until_answered(client, event)

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

    def _dated(self) -> bytes:
        n = self._number
        data: dict[str, object] = {"battery": n % 100}
        if n % 7 == 0:
            data = {"status": "offline"}
        if n % 13 == 0:
            data["fw"] = f"g{n // 200}"
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{n % 1_000:03d}Z"
        return _event(n, f"g{n % DATED}", {"time": at, "data": data})

    def _by_number(self, number: int) -> bytes:
        said = {"fw": f"w{number}", f"n{number}": 1, "battery": number % 100}
        return _event(self._number, f"h{number // EACH}", {"data": said})


def _event(n: int, subject: str, rest: dict[str, object]) -> bytes:
    head = {"specversion": "1.0", "id": f"e{n}", "source": "/cloud", "type": "reading", "subject": subject}
    return orjson.dumps({**head, **rest})
