"""Several Rollcall processes on one database, and which slots each holds."""

from collections import defaultdict
from pathlib import Path

import asyncpg
import orjson

from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

HELD = """
select holder, right(name, 1)::int as slot from rollcall.leases
where name like 'mqtt/%' and expires_at >= now()"""
CONNECTED = "select count(*) from rollcall.mqtt_sessions where state = 'connected'"
TWICE = """
select kind, count(*) from (select kind from rollcall.device_events where retracted_at is null
    and kind in ('created', 'online', 'firmware') group by subject, kind, component, detail having count(*) > 1) as t
group by kind"""


class Replicas:
    """Processes on one database."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database = database
        self._folder = folder
        self.processes: list[RollcallProcess] = []

    def start(self, **settings: str) -> RollcallProcess:
        """Start one more."""
        process = RollcallProcess(self.database, self._folder / f"log-{len(self.processes)}", **settings)
        process.start()
        self.processes.append(process)
        return process

    async def shares(self) -> list[list[int]]:
        """Return the slots that each holder has, the largest share first."""
        found: dict[str, list[int]] = defaultdict(list)
        for holder, slot in await self.rows(HELD):
            found[holder].append(slot)
        return sorted((sorted(slots) for slots in found.values()), key=lambda slots: (-len(slots), slots))

    async def hold(self, *sizes: int, within_s: float = 20) -> None:
        """Wait until the replicas hold so many slots each, and every slot is connected."""
        found: list[list[int]] = []

        async def so() -> bool:
            nonlocal found
            found = await self.shares()
            slots = sorted(slot for share in found for slot in share)
            ((connected,),) = await self.rows(CONNECTED)
            return (
                [len(share) for share in found] == list(sizes)
                and slots == list(range(sum(sizes)))
                and connected == sum(sizes)
            )

        try:
            await until(so, within_s, f"the replicas hold {sizes}")
        except AssertionError as error:
            error.add_note(
                f"they hold {found}: {await self.rows('select client_id, state, detail from rollcall.mqtt_sessions')}"
            )
            raise

    async def set(self, **settings: object) -> None:
        """Change the integration's settings."""
        text = orjson.dumps(settings).decode()
        await self.rows("update device_integrations set settings = settings || $1::jsonb", text)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database."""
        connection = await asyncpg.connect(self.database)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def assert_nothing_twice(self) -> None:
        """See that the timeline tells nothing twice."""
        assert await self.rows(TWICE) == []
