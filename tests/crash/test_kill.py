"""Kill -9 of Rollcall, of Postgres and cuts of the link, under numbered load: nothing acknowledged is lost."""

import asyncio
import random
from pathlib import Path

from ingest.migrate.runner import migrate
from tests.crash.load import assert_rows_are_the_models, publish
from tests.crash.setting import add_integration, connected_once
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess

KILLS = 10


async def test_killed_ten_times_and_its_connection_cut_under_load_it_loses_nothing(
    database: str, broker: MosquittoServer, tmp_path: Path
) -> None:
    rollcall = RollcallProcess(database, tmp_path / "log")
    async with Proxy(broker.port) as link:
        await add_integration(database, link.port)
        rollcall.start()
        await connected_once(database)
        publishing = asyncio.create_task(publish(broker.port))
        chance = random.Random(1)
        try:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0.3, 1.0))
                link.cut()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                rollcall.kill9()
                rollcall.start()
            await publishing
            await assert_rows_are_the_models(database)
            await connected_once(database)
            assert rollcall.stop() == 0
        finally:
            publishing.cancel()
            rollcall.kill9()


async def test_postgres_killed_under_load_loses_nothing_and_it_goes_on_by_itself(
    broker: MosquittoServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    database = postgres.dsn()
    await migrate(database)
    await add_integration(database, broker.port)
    rollcall = RollcallProcess(database, tmp_path / "log")
    rollcall.start()
    try:
        await connected_once(database)
        publishing = asyncio.create_task(publish(broker.port))
        for _ in range(2):
            await asyncio.sleep(1)
            postgres.kill9()
            postgres.start()
        await publishing
        await assert_rows_are_the_models(database)
    finally:
        rollcall.kill9()
