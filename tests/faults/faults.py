"""The faults by name. Each is over when it returns: what it hurt is up again, or is coming up by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiomqtt
import asyncpg

from ingest.migrate.runner import migrate
from tests.faults.disk import Disk
from tests.faults.hearing import Hearing
from tests.faults.world import REPLICAS, World
from tests.servers.http import Fault as HttpFault
from tests.waiting import until

Fault = Callable[[], Awaitable[None]]
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rollcall'"
AGAIN = """delete from rollcall.migrations
where filename in (select filename from rollcall.migrations order by filename desc limit 2)"""
HEARD = """
select client_id, heard_until / 1e6 as heard_until from rollcall.mqtt_sessions
where heard_until is not null and client_id like 'rollcall-%' order by 1"""
CONNECTED = """
select count(*) from rollcall.mqtt_sessions
where client_id like 'rollcall-%' and connected_at > to_timestamp($1)"""
GAPS = "select count(*) from rollcall.device_events where kind = 'gap'"
GAP_WITHIN_S = SHARED_WITHIN_S = 20.0
SAVED_WITHIN_S = 10.0
"""Mosquitto saves every second here, where anything has changed."""
CLOCK_TICK_S = 0.02
"""By how much a file's time may be behind the clock."""


class Faults:
    """What may befall a world; `discarded` counts the sessions that the broker was told to forget."""

    def __init__(self, world: World, disk: Disk, hearing: Hearing) -> None:
        self._hearing = hearing
        self._world = world
        self._disk = disk
        self._chance = world.chance
        self.discarded = 0
        self.by_name: dict[str, Fault] = {
            "kill a replica": self._kill_replica,
            "stop a replica": self._stop_replica,
            "start a replica": self._start_replica,
            "freeze a replica": self._freeze_replica,
            "kill Postgres": self._kill_postgres,
            "freeze Postgres": self._freeze_postgres,
            "read-only": lambda: self._database_setting("default_transaction_read_only = on"),
            "statement timeouts": lambda: self._database_setting("statement_timeout = '1ms'"),
            "no connections left": self._no_connections,
            "disk full": self._disk_full,
            "migrate": self._migrate,
            "kill the broker": self._kill_broker,
            "restart the broker": self._restart_broker,
            "freeze the broker": self._freeze_broker,
            "discard a session": self._discard,
            "cut the link": self._cut,
            "no way to the broker": self._no_way,
            "stall the link": self._stall,
            "nothing gets back": self._nothing_gets_back,
            "a half-open link": self._halve,
            "byte by byte": self._byte_by_byte,
            "delays": self._delays,
            "step a clock": self._step_clocks,
            "the provider fails": self._provider_fails,
        }

    async def _for_a_while(self, most_s: float = 3.0) -> None:
        await asyncio.sleep(self._chance.uniform(0.2, most_s))

    async def _and_a_death(self) -> None:
        """Let it last for a while; at times a replica dies meanwhile, with all that it has in hand."""
        await self._for_a_while()
        if self._chance.random() < 0.5:
            await self._kill_replica()

    async def _kill_replica(self) -> None:
        self._world.kill(self._chance.choice(self._world.running))
        self._one_runs()

    async def _stop_replica(self) -> None:
        place = self._chance.choice(self._world.running)
        await self._world.stop(place)
        self._one_runs()

    def _one_runs(self) -> None:
        if not self._world.running:
            self._world.start(self._chance.randrange(REPLICAS))

    async def _start_replica(self) -> None:
        away = sorted(set(range(REPLICAS)) - set(self._world.running))
        if away:
            self._world.start(self._chance.choice(away))

    async def _freeze_replica(self) -> None:
        await self._world.freeze(self._chance.choice(self._world.running), self._chance.uniform(0.5, 4.0))

    async def _kill_postgres(self) -> None:
        await asyncio.to_thread(self._world.postgres.restart, kill=True)

    async def _freeze_postgres(self) -> None:
        """Freeze it; where a replica dies meanwhile, what it has sent is carried out after its death."""
        self._world.postgres.freeze()
        try:
            await self._and_a_death()
        finally:
            self._world.postgres.thaw()

    async def _database_setting(self, setting: str) -> None:
        """Let new connections have a setting, and Rollcall new connections, for a while."""
        administrator = await self._world.administrator()
        try:
            await administrator.execute(f"alter database postgres set {setting}")
            await administrator.execute(CUT)
            await self._and_a_death()
            await administrator.execute(f"alter database postgres reset {setting.split()[0]}")
            await administrator.execute(CUT)
        finally:
            await administrator.close()

    async def _no_connections(self) -> None:
        taken = []
        try:
            while True:
                taken.append(await asyncpg.connect(self._world.postgres.dsn()))
        except asyncpg.TooManyConnectionsError:
            await self._and_a_death()
        finally:
            for connection in taken:
                connection.terminate()

    async def _disk_full(self) -> None:
        administrator = await self._world.administrator()
        try:
            async with self._disk.full(administrator):
                await self._and_a_death()
        finally:
            administrator.terminate()

    async def _migrate(self) -> None:
        """Run the last two migrations again, which replace what each commit calls."""
        administrator = await self._world.administrator()
        try:
            await administrator.execute(AGAIN)
        finally:
            await administrator.close()
        await migrate(self._world.postgres.dsn())

    async def _kill_broker(self) -> None:
        """Kill it: it comes back as it was when it last saved.

        What it has acknowledged since may be missing. And it may send again what it held then, though it had been
        answered since: in a packet that nobody can recognise where it had not been sent yet.
        """
        broker, devices = self._world.broker, self._world.devices
        await asyncio.to_thread(broker.kill9)
        saved_at, ended_at = broker.saved_at(), time.time()
        await asyncio.to_thread(broker.start)
        await self._share_again(ended_at)
        devices.may_be_missing(saved_at)
        devices.may_be_doubled(self._hearing.before(saved_at), saved_at + CLOCK_TICK_S)
        await self._saved_since(time.time())

    async def _restart_broker(self) -> None:
        """Stop it in an orderly way and start it: it keeps all it has acknowledged, but see `_share_again`."""
        began = time.time()
        await asyncio.to_thread(self._world.broker.restart)
        await self._share_again(began)
        self._world.devices.may_be_missing(began)

    async def _saved_since(self, moment: float) -> None:
        """Wait until the broker has saved: killed later, it does not come back as it was before."""

        async def saved() -> bool:
            return self._world.broker.saved_at() > moment

        await until(saved, SAVED_WITHIN_S, "the broker has saved what it holds")

    async def _share_again(self, since: float) -> None:
        """Wait until a session has subscribed again.

        Mosquitto 2.0.11 forgets who shares a subscription when it ends: until then it gives such messages to nobody.
        """
        administrator = await self._world.administrator()

        async def shares() -> bool:
            return bool(await administrator.fetchval(CONNECTED, since))

        try:
            await until(shares, SHARED_WITHIN_S, "a session has subscribed again")
        finally:
            await administrator.close()

    async def _freeze_broker(self) -> None:
        self._world.broker.freeze()
        try:
            await self._for_a_while()
        finally:
            self._world.broker.thaw()

    async def _discard(self) -> None:
        """Let the broker forget a session while nobody is connected: what it held for it is lost, which Rollcall says.

        What was acknowledged before the session's newest committed marker was committed, too: all since is in doubt.
        """
        administrator = await self._world.administrator()
        link = self._world.link
        try:
            sessions = await administrator.fetch(HEARD)
            if not sessions:
                return
            client_id, heard_until = self._chance.choice(sessions)
            gaps = await administrator.fetchval(GAPS)
            link.refusing = True
            link.cut()
            await self._forget(client_id)
            forgotten_at = time.time()
            link.refusing = False
            self.discarded += 1
            if self._chance.random() < 0.5:
                await asyncio.sleep(self._chance.uniform(0, 0.5))
                await self._kill_replica()

            async def told() -> bool:
                return bool(await administrator.fetchval(GAPS) > gaps)

            await until(told, GAP_WITHIN_S, f"the timeline tells that the session {client_id} was lost")
            self._world.devices.may_be_missing(float(heard_until))
            await self._saved_since(forgotten_at)
        finally:
            link.refusing = False
            await administrator.close()

    async def _forget(self, client_id: str) -> None:
        async with aiomqtt.Client(
            "127.0.0.1", self._world.broker.port, identifier=client_id, clean_start=True,
            protocol=aiomqtt.ProtocolVersion.V5, timeout=5,
        ):  # fmt: skip
            pass  # without an expiry the session ends with its connection

    async def _cut(self) -> None:
        self._world.link.cut()

    async def _no_way(self) -> None:
        """Let nobody through to the broker, for long enough that reconnecting has slowed down."""
        self._world.link.refusing = True
        self._world.link.cut()
        try:
            await self._for_a_while(8.0)
        finally:
            self._world.link.refusing = False

    async def _stall(self) -> None:
        self._world.link.stall()
        try:
            await self._for_a_while()
        finally:
            self._world.link.flow()

    async def _nothing_gets_back(self) -> None:
        """Lose all that Rollcall sends to the broker, its PUBACKs above all: what they were for comes again."""
        self._world.link.swallow = True
        try:
            await self._and_a_death()
        finally:
            self._world.link.cut()
            self._world.link.swallow = False

    async def _halve(self) -> None:
        self._world.link.halve()

    async def _byte_by_byte(self) -> None:
        self._world.link.byte_by_byte = True
        try:
            await self._for_a_while()
        finally:
            self._world.link.byte_by_byte = False

    async def _delays(self) -> None:
        self._world.link.delay_s = self._chance.uniform(0.01, 0.3)
        try:
            await self._for_a_while()
        finally:
            self._world.link.delay_s = 0.0

    async def _step_clocks(self) -> None:
        for _ in range(self._chance.randrange(1, 20)):
            self._world.devices.step_a_clock()

    async def _provider_fails(self) -> None:
        self._world.provider.always = HttpFault("status", self._chance.choice((429, 500, 503)))
        try:
            await self._for_a_while()
        finally:
            self._world.provider.always = None
