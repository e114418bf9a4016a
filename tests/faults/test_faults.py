"""Random faults on real servers under load: the rows are what the pure rules make of all that was acknowledged.

`--faults-minutes N` for longer, `--faults-seed N` to repeat a run.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import orjson
import pytest

from ingest.migrate.runner import migrate
from tests.crash.setting import add_integration, connected_once
from tests.faults.bounds import Bounds
from tests.faults.broker import BrokerFaults
from tests.faults.cloud import API_KEY, Cloud
from tests.faults.disk import Disk
from tests.faults.faults import Faults
from tests.faults.hearing import Hearing
from tests.faults.link import LinkFaults
from tests.faults.model import Model
from tests.faults.oracle import Oracle
from tests.faults.rows import OFFLINE_AFTER_S
from tests.faults.sessions import SessionFaults
from tests.faults.webhooks import Webhooks
from tests.faults.workload import Devices
from tests.faults.world import World
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

log = logging.getLogger(__name__)

RECOVERED_WITHIN_S = 10.0
PUBLISHED_WITHIN_S = 60.0
MOST_BETWEEN_S = 1.5
PROVIDER = """
insert into device_integrations
    (organization_id, integration_type, name, project_id, base_url, api_key_encrypted, webhook_enabled, settings)
select id, 'golioth', 'g', 'fleet', $1, $2, true, $3 from organizations returning id"""


async def test_no_sequence_of_faults_loses_or_doubles_anything(
    broker: MosquittoServer, postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    minutes = request.config.getoption("--faults-minutes")
    seed = request.config.getoption("--faults-seed") or random.randrange(1 << 30)
    befell: list[str] = []
    try:
        async with AsyncExitStack() as closing:
            run = await Run.prepare(closing, broker, postgres, tmp_path, seed)
            took_s = await run.through(minutes * 60, befell)
    except BaseException as error:
        error.add_note(f"repeat with --faults-seed={seed}; it befell: {', '.join(befell)}; logs: {tmp_path}")
        raise
    log.info("%s", run.summary(seed, befell, took_s))
    run.bounds.check()


class Run:
    """Everything that takes part, and the schedule."""

    def __init__(
        self, world: World, disk: Disk, webhooks: Webhooks, cloud: Cloud, oracle: Oracle, model: Model
    ):
        self.world = world
        self.disk = disk
        self.hearing = Hearing(world.administrator)
        kinds = (
            Faults(world, disk),
            BrokerFaults(world, self.hearing),
            LinkFaults(world),
            SessionFaults(world),
        )
        self.faults = {name: fault for kind in kinds for name, fault in kind.by_name.items()}
        self.webhooks = webhooks
        self.cloud = cloud
        self.oracle = oracle
        self.bounds = Bounds(world, model)
        self.model = model
        self.started_s = 0.0

    @classmethod
    async def prepare(
        cls,
        closing: AsyncExitStack,
        broker: MosquittoServer,
        postgres: PostgresServer,
        folder: Path,
        seed: int,
    ) -> "Run":
        """Start everything, with two replicas."""
        chance = random.Random(seed)
        await migrate(postgres.dsn())
        disk = Disk(postgres)
        closing.callback(disk.unmount)
        disk.mount()
        link = await closing.enter_async_context(Proxy(broker.port, recording=False, mqtt=True))
        cloud = Cloud(random.Random(seed))
        provider = await closing.enter_async_context(cloud.golioth.http)
        devices = Devices(broker.port, random.Random(seed))
        world = World(broker, postgres, provider, link, devices, folder, chance)
        closing.callback(world.end)
        administrator = await world.administrator()
        integration = await _add_integrations(administrator, postgres.dsn(), link.port, provider.url)
        await administrator.close()
        webhooks = Webhooks(integration, world.ports, random.Random(seed))
        for place in range(2):
            world.start(place)
        await connected_once(postgres.dsn())
        model = Model(devices, webhooks, cloud)
        return cls(
            world, disk, webhooks, cloud, Oracle(world.administrator, model, devices, webhooks, cloud), model
        )

    async def through(self, seconds: float, befell: list[str]) -> float:
        """Let faults befall the world for so long; return how long it took to recover from the last of them.

        What the broker has lost is published again meanwhile, one by one: that is not ours to hurry.
        """
        devices = self.world.devices
        async with asyncio.TaskGroup() as group:
            forever = (self.bounds.watch(), self.hearing.watch(), self.world.keep())
            background = [group.create_task(one) for one in forever]
            publishing = group.create_task(self._publish())
            senders = [group.create_task(one.run()) for one in (self.webhooks, self.cloud)]
            await self._befall(seconds, befell)
            began = time.monotonic()
            for one in (devices, self.webhooks, self.cloud):
                one.stop()
            async with asyncio.timeout(RECOVERED_WITHIN_S):
                await self.world.calm()
                self.started_s = time.monotonic() - began
                await asyncio.gather(*senders)
            async with asyncio.timeout(PUBLISHED_WITHIN_S):
                published = await publishing
            await self._recover(max(began, published))
            took_s = time.monotonic() - began
            for task in background:
                task.cancel()
        return took_s

    async def _befall(self, seconds: float, befell: list[str]) -> None:
        chance, faults = self.world.chance, self.faults
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(chance.uniform(0, MOST_BETWEEN_S))
            befell.append(chance.choice(list(faults)))
            await faults[befell[-1]]()

    async def _publish(self) -> float:
        """Publish for as long as faults befall, and all that was lost; return when that was done."""
        await self.world.devices.run()
        return time.monotonic()

    async def _recover(self, began: float) -> None:
        """Wait until nothing differs, at most RECOVERED_WITHIN_S from then on."""
        self.model.follow()
        while wrong := await self.oracle.differences():
            late = time.monotonic() - began > RECOVERED_WITHIN_S
            assert not late, f"{len(wrong)} differences after {RECOVERED_WITHIN_S} s:\n" + "\n".join(
                line[:700] for line in wrong[:6] + wrong[-4:]
            )
            await asyncio.sleep(0.2)

    def summary(self, seed: int, befell: list[str], took_s: float) -> str:
        """Return what to tell of a run that went well."""
        faults = ", ".join(f"{name} {count}" for name, count in sorted(Counter(befell).items()))
        webhooks, bounds, certain = self.webhooks, self.bounds, self.world.devices.certainty
        return (
            f"seed {seed}, {len(befell)} faults: {faults}; disk full by {self.disk.way};"
            f" {len(self.world.devices.acknowledged)} publishes, of {len(certain.said)} without a time"
            f" {len(certain.maybe_missing)} may be missing and {len(certain.maybe_doubled)} doubled,"
            f" {len(webhooks.dated) + len(webhooks.numbered)} webhooks ({webhooks.refusals} refused),"
            f" {self.cloud.golioth.pages} pages listed;"
            f" recovered in {took_s:.1f} s, all replicas up after {self.started_s:.1f} s;"
            f" at most {bounds.rss_mib:.0f} MiB a replica, {bounds.connections} connections;"
            f" {self.world.restarts} replicas ended by themselves"
        )


async def _add_integrations(
    administrator: asyncpg.Connection, database: str, port: int, provider_url: str
) -> object:
    """Add the broker's integration and the provider's; return the id of the latter."""
    every = {"offline_after_s": OFFLINE_AFTER_S}
    await add_integration(database, port, slots=4, liveness="event_time", **every)
    settings = orjson.dumps({"webhook": {"auth": "none"}, **every}).decode()
    return await administrator.fetchval(PROVIDER, provider_url, API_KEY, settings)
