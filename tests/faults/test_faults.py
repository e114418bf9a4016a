"""Random faults on real servers under load: the rows are what the pure rules make of all that was acknowledged.

`--faults-minutes N` for longer, `--faults-seed N` to repeat a run.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest

from ingest.migrate.runner import migrate
from tests.crash.load import assert_rows_are_the_models
from tests.crash.setting import add_integration, connected_once
from tests.faults.world import World
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

A_SECOND = 400
"""Messages that are published, about."""
RECOVERED_WITHIN_S = 30
MAX_RSS_MIB = 250


@pytest.fixture
def servers():
    broker, postgres = MosquittoServer(), PostgresServer(max_connections="30")
    try:
        broker.start()
        postgres.start()
        yield broker, postgres
    finally:
        broker.thaw_if_running()
        broker.destroy()
        postgres.destroy()


@pytest.mark.timeout(0)
async def test_no_sequence_of_faults_loses_or_doubles_anything(servers, tmp_path: Path, request):
    broker, postgres = servers
    minutes = request.config.getoption("--faults-minutes")
    seed = request.config.getoption("--faults-seed") or random.randrange(1 << 30)
    await migrate(postgres.dsn())
    async with Proxy(broker.port) as link:
        await add_integration(postgres.dsn(), link.port)
        world = World(broker, postgres, link, tmp_path, seed)
        world.start(0)
        await connected_once(postgres.dsn())
        messages = int(minutes * 60 * A_SECOND)
        publishing = asyncio.create_task(world.publish(messages))
        befell: list[str] = []
        try:
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                await asyncio.sleep(world.chance.uniform(0, 1.5))
                name = world.chance.choice(list(world.faults))
                befell.append(name)
                await world.faults[name]()
            world.calm()
            await asyncio.wait_for(publishing, 120)
            await assert_rows_are_the_models(postgres.dsn(), messages, within_s=RECOVERED_WITHIN_S)
            resident = [replica.rss_mib() for replica in world.replicas]
            assert max(resident) < MAX_RSS_MIB
        except BaseException as error:
            error.add_note(f"repeat with --faults-seed={seed}; it befell: {', '.join(befell)}")
            raise
        finally:
            publishing.cancel()
            for replica in world.replicas:
                replica.kill9()
