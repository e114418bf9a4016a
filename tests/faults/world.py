"""Real servers with everything between them that can go wrong, and the faults by name."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiomqtt
import asyncpg

from ingest.migrate.runner import migrate
from tests.crash.load import numbered
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess

Fault = Callable[[], Awaitable[None]]


class World:
    """A broker, a database, a proxy on the way to the broker, and two replicas of Rollcall."""

    def __init__(
        self, broker: MosquittoServer, postgres: PostgresServer, link: Proxy, folder: Path, seed: int
    ):
        self.broker = broker
        self.postgres = postgres
        self.link = link
        self.chance = random.Random(seed)
        dsn = postgres.dsn()
        self.replicas = [RollcallProcess(dsn, folder / f"log-{n}") for n in range(2)]
        self.running = [False, False]
        self.published = 0

    async def publish(self, messages: int) -> None:
        """Publish all of it as a device does that stores what was not acknowledged; at a pace, so that it lasts."""
        waiting = list(numbered(messages))
        while self.published < messages:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1", self.broker.port, identifier="publisher", timeout=5
                ) as client:
                    while self.published < messages:
                        topic, payload = waiting[self.published]
                        await client.publish(topic, payload, qos=1)
                        self.published += 1
            except aiomqtt.MqttError:
                await asyncio.sleep(0.2)

    @property
    def faults(self) -> dict[str, Fault]:
        """Every fault; each is over when it returns, and what it hurt is up again or is coming up."""
        return {
            "kill a replica": self._kill_replica,
            "stop a replica": self._stop_replica,
            "start a replica": self._start_replica,
            "kill Postgres": self._kill_postgres,
            "freeze Postgres": lambda: self._frozen(self.postgres.freeze, self.postgres.thaw),
            "read-only": self._read_only,
            "no connections left": self._no_connections,
            "freeze the broker": lambda: self._frozen(self.broker.freeze, self.broker.thaw),
            "restart the broker": self._restart_broker,
            "cut the link": self._cut,
            "a half-open link": lambda: self._frozen(self.link.stall, self.link.flow),
            "byte by byte": self._byte_by_byte,
            "migrate": lambda: migrate(self.postgres.dsn()),
        }

    def start(self, place: int) -> None:
        """Start a replica where it does not run."""
        if not self.running[place]:
            self.replicas[place].start()
            self.running[place] = True

    def calm(self) -> None:
        """End of the faults: both replicas run."""
        for place in range(len(self.replicas)):
            self.start(place)

    async def _kill_replica(self) -> None:
        place = self.chance.randrange(2)
        self.replicas[place].kill9()
        self.running[place] = False
        self.start(self.chance.randrange(2))

    async def _stop_replica(self) -> None:
        place = self.chance.randrange(2)
        await asyncio.to_thread(self.replicas[place].stop)
        self.running[place] = False
        self.start(1 - place)

    async def _start_replica(self) -> None:
        self.start(self.chance.randrange(2))

    async def _kill_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.restart, kill=True)

    async def _frozen(self, freeze: Callable[[], None], thaw: Callable[[], None]) -> None:
        freeze()
        try:
            await asyncio.sleep(self.chance.uniform(0.2, 3))
        finally:
            thaw()

    async def _read_only(self) -> None:
        person = await asyncpg.connect(
            self.postgres.dsn(), server_settings={"default_transaction_read_only": "off"}
        )
        try:
            for setting in ("on", "off"):
                await person.execute(f"alter database postgres set default_transaction_read_only = {setting}")
                await person.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rollcall'"
                )
                await asyncio.sleep(self.chance.uniform(0.2, 2) if setting == "on" else 0)
        finally:
            await person.close()

    async def _no_connections(self) -> None:
        taken = []
        try:
            while True:
                taken.append(await asyncpg.connect(self.postgres.dsn()))
        except asyncpg.TooManyConnectionsError:
            await asyncio.sleep(self.chance.uniform(0.2, 2))
        finally:
            for connection in taken:
                connection.terminate()

    async def _restart_broker(self) -> None:
        await asyncio.to_thread(self.broker.restart)

    async def _cut(self) -> None:
        self.link.cut()

    async def _byte_by_byte(self) -> None:
        self.link.byte_by_byte = True
        await asyncio.sleep(self.chance.uniform(0.2, 1))
        self.link.byte_by_byte = False
