"""Real servers with everything between them that can go wrong, and the replicas of Rollcall on them."""

import asyncio
import random
from pathlib import Path

import asyncpg

from tests.faults.workload import Devices
from tests.servers.http import HttpServer
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

REPLICAS = 4
STARTED_WITHIN_S = 60.0
QUICK = {
    "ROLLCALL_KEEP_ALIVE_S": "2",
    "ROLLCALL_RECONCILE_EVERY_S": "2",
    "ROLLCALL_SWEEP_EVERY_S": "1",
}
"""So that what takes minutes in life takes seconds here."""


class World:
    """A broker, a database, a provider, a proxy on the way to the broker, and up to four replicas.

    `chance` decides everything that is left to chance, so that a seed repeats it.
    """

    def __init__(
        self,
        broker: MosquittoServer,
        postgres: PostgresServer,
        provider: HttpServer,
        link: Proxy,
        devices: Devices,
        folder: Path,
        chance: random.Random,
    ) -> None:
        self.broker = broker
        self.postgres = postgres
        self.provider = provider
        self.link = link
        self.devices = devices
        self.chance = chance
        self.replicas = [
            RollcallProcess(postgres.dsn(), folder / f"log-{n}", **QUICK) for n in range(REPLICAS)
        ]
        self._wanted = [False] * REPLICAS
        self.restarts = 0
        """Of replicas that ended by themselves: Rollcall does so where it starts while the database is away."""

    @property
    def running(self) -> list[int]:
        """The places of the replicas that should run."""
        return [place for place, wanted in enumerate(self._wanted) if wanted]

    def ports(self) -> list[int]:
        """Return where the replicas take webhooks."""
        found = [self.replicas[place].port() for place in self.running]
        return [port for port in found if port is not None]

    def start(self, place: int) -> None:
        """Start a replica where it does not run."""
        if not self._wanted[place]:
            self.replicas[place].start()
            self._wanted[place] = True

    def kill(self, place: int) -> None:
        """Kill it where it stands."""
        self.replicas[place].kill9()
        self._wanted[place] = False

    def kill_one(self) -> None:
        """Kill any; where it was the last one another starts."""
        self.kill(self.chance.choice(self.running))
        self.one_runs()

    def one_runs(self) -> None:
        """See that at least one should run."""
        if not self.running:
            self.start(self.chance.randrange(REPLICAS))

    async def a_while(self, most_s: float = 3.0) -> None:
        """Let what is so last for a while."""
        await asyncio.sleep(self.chance.uniform(0.2, most_s))

    async def a_while_or_a_death(self) -> None:
        """Let it last for a while; at times a replica dies then, with all that it has in hand."""
        await self.a_while()
        if self.chance.random() < 0.5:
            self.kill_one()

    async def stop(self, place: int) -> None:
        """Ask it to stop, and see that it does so in order, if it has started at all."""
        self._wanted[place] = False
        replica = self.replicas[place]
        has_started = replica.running and replica.port() is not None
        code = await asyncio.to_thread(replica.stop)
        assert code == 0 or not has_started, f"replica {place} ended with {code}"

    async def freeze(self, place: int, seconds: float) -> None:
        """Let it stand still for so long, as when its machine is moved; another may take up its sessions meanwhile."""
        self.replicas[place].freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.replicas[place].thaw()

    async def keep(self) -> None:
        """Start again what has ended by itself, as a supervisor does, for ever."""
        while True:
            for place in self.running:
                if not self.replicas[place].running:
                    self.restarts += 1
                    self.kill(place)
                    self.start(place)
            await asyncio.sleep(0.2)

    async def calm(self) -> None:
        """End of the faults: all replicas run, however long a busy machine takes to start them."""
        for place in range(REPLICAS):
            self.start(place)

        async def all_listen() -> bool:
            return len(self.ports()) == REPLICAS

        await until(all_listen, STARTED_WITHIN_S, "all replicas have started")

    def end(self) -> None:
        """Leave no process behind."""
        for place in range(REPLICAS):
            self.kill(place)

    async def administrator(self) -> asyncpg.Connection:
        """Return a connection that no setting of the database hinders."""
        free = {"default_transaction_read_only": "off", "statement_timeout": "0", "application_name": "admin"}
        return await asyncpg.connect(self.postgres.dsn(), server_settings=free)
