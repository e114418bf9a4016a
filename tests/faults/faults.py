"""The faults by name. Each is over when it returns: what it hurt is up again, or is coming up by itself."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from ingest.migrate.runner import migrate
from tests.faults.disk import Disk
from tests.faults.world import REPLICAS, World
from tests.servers.http import Fault as HttpFault

Fault = Callable[[], Awaitable[None]]
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rollcall'"
AGAIN = "update rollcall.functions set sha256 = ''"

EDIT = """
update public.devices set battery_level = $2, signal_strength = -1, status = $3::public.device_status
where external_device_id = $1"""
LOCK = "select 1 from public.devices order by random() limit $1 for update"
STATUSES = ("online", "offline")
DATABASE_DOWN = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Faults:
    """What may befall the replicas, the database and what the devices and the provider say."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world = world
        self._disk = disk
        self._chance = world.chance
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
            "step a clock": self._step_clocks,
            "the provider fails": self._provider_fails,
            "edit a row": self._edit_row,
            "lock rows": self._lock_rows,
        }

    async def _kill_replica(self) -> None:
        self._world.kill_one()

    async def _stop_replica(self) -> None:
        place = self._chance.choice(self._world.running)
        await self._world.stop(place)
        self._world.one_runs()

    async def _start_replica(self) -> None:
        away = sorted(set(range(REPLICAS)) - set(self._world.running))
        if away:
            self._world.start(self._chance.choice(away))

    async def _freeze_replica(self) -> None:
        """Freeze it for longer than its leases last: another takes its sessions up while it has messages in hand."""
        await self._world.freeze(self._chance.choice(self._world.running), self._chance.uniform(1.5, 4.0))

    async def _kill_postgres(self) -> None:
        await asyncio.to_thread(self._world.postgres.restart, kill=True)

    async def _freeze_postgres(self) -> None:
        """Freeze it; where a replica dies meanwhile, what it has sent is carried out after its death."""
        self._world.postgres.freeze()
        try:
            await self._world.a_while_or_a_death()
        finally:
            self._world.postgres.thaw()

    async def _database_setting(self, setting: str) -> None:
        """Let new connections have a setting, and Rollcall new connections, for a while."""
        administrator = await self._world.administrator()
        try:
            await administrator.execute(f"alter database postgres set {setting}")
            await administrator.execute(CUT)
            await self._world.a_while_or_a_death()
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
            await self._world.a_while_or_a_death()
        finally:
            for connection in taken:
                connection.terminate()

    async def _disk_full(self) -> None:
        administrator = await self._world.administrator()
        try:
            async with self._disk.full(administrator):
                await self._world.a_while_or_a_death()
        finally:
            administrator.terminate()

    async def _migrate(self) -> None:
        """Apply all functions again, which replaces what each commit calls."""
        administrator = await self._world.administrator()
        try:
            await administrator.execute(AGAIN)
        finally:
            await administrator.close()
        await migrate(self._world.postgres.dsn())

    async def _step_clocks(self) -> None:
        for _ in range(self._chance.randrange(1, 20)):
            self._world.devices.step_a_clock()

    async def _edit_row(self) -> None:
        """Let a person write over what was measured: newer evidence corrects it, and nothing else does."""
        name = self._world.devices.edit()
        administrator = await self._world.administrator()
        try:
            await administrator.execute(
                EDIT, name, self._chance.randrange(101), self._chance.choice(STATUSES)
            )
        except DATABASE_DOWN:
            return  # the row is as it was
        finally:
            administrator.terminate()

    async def _lock_rows(self) -> None:
        """Hold rows of devices for longer than a commit waits: what they say is parked, and applied afterwards."""
        administrator = await self._world.administrator()
        try:
            transaction = administrator.transaction()
            await transaction.start()
            await administrator.execute(LOCK, self._chance.randrange(1, 4))
            await asyncio.sleep(self._chance.uniform(0.5, 4.0))
            await transaction.rollback()
        except DATABASE_DOWN:
            return  # nothing is held any more
        finally:
            administrator.terminate()

    async def _provider_fails(self) -> None:
        self._world.provider.always = HttpFault("status", self._chance.choice((429, 500, 503)))
        try:
            await self._world.a_while()
        finally:
            self._world.provider.always = None
