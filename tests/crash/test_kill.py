"""Kill -9 of Rollcall, of Postgres and cuts of the link, under numbered load: nothing acknowledged is lost."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import asyncpg
import orjson
import pytest

from ingest.migrate.runner import migrate
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer
from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

DEVICES = 500
MESSAGES = 20_000
KILLS = 10
START_MS = 1_767_225_600_000


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    server = MosquittoServer()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


async def add_integration(database: str, port: int, **settings: object) -> None:
    connection = await asyncpg.connect(database)
    try:
        organization = await connection.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        await connection.execute(
            "insert into device_integrations (organization_id, integration_type, name, settings)"
            " values ($1, 'mqtt', 'm', $2)",
            organization,
            orjson.dumps({"host": "127.0.0.1", "port": port, "protocol": "5", **settings}).decode(),
        )
    finally:
        await connection.close()


async def publish_numbered(port: int) -> None:
    """Publish numbered telemetry: message n carries time n, battery n % 101 and, at times, a firmware version."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="publisher") as client:
        for n in range(MESSAGES):
            body = {"battery": n % 101, "seq": n, "ts": START_MS + n * 10}
            if n % 1_000 < DEVICES and (n // 1_000) % 5 == 0:
                body["fw"] = f"v{n // 5_000}"
            await client.publish(f"devices/d{n % DEVICES}/telemetry", orjson.dumps(body), qos=1)


async def connected_once(database: str) -> None:
    connection = await asyncpg.connect(database)

    async def connected() -> bool:
        return bool(
            await connection.fetchval("select count(*) from rollcall.mqtt_sessions where state = 'connected'")
        )

    try:
        await until(connected, 15, "Rollcall is connected")
    finally:
        await connection.close()


async def assert_nothing_lost(database: str, within_s: float = 60) -> None:
    connection = await asyncpg.connect(database)
    last = {f"d{d}": MESSAGES - DEVICES + d for d in range(DEVICES)}

    async def complete() -> bool:
        rows = await connection.fetch(
            "select d.external_device_id as id, r.value from devices d join rollcall.device_readings r"
            " on r.device_id = d.id where r.name = 'seq'"
        )
        return {row["id"]: int(row["value"]) for row in rows} == last

    try:
        await until(complete, within_s, "every device has its last message")
        rows = await connection.fetch(
            "select external_device_id as id, battery_level, firmware_version, status from devices"
        )
        assert len(rows) == DEVICES
        for row in rows:
            assert (row["battery_level"], row["status"]) == (last[row["id"]] % 101, "online")
        history = await connection.fetch(
            "select d.external_device_id as id, array_agg(h.firmware_version order by h.installed_at) as versions"
            " from devices d join device_firmware_history h on h.device_id = d.id group by 1"
        )
        assert {row["id"]: row["versions"] for row in history} == {
            id_: ["v0", "v1", "v2", "v3"] for id_ in last
        }
        assert await connection.fetchval("select count(*) from rollcall.dead_letters") == 0
    finally:
        await connection.close()


async def test_killed_ten_times_under_load_it_loses_nothing(
    database: str, broker: MosquittoServer, tmp_path: Path
) -> None:
    await add_integration(database, broker.port)
    rollcall = RollcallProcess(database, tmp_path / "log")
    rollcall.start()
    await connected_once(database)
    publishing = asyncio.create_task(publish_numbered(broker.port))
    chance = random.Random(1)
    try:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            rollcall.kill9()
            rollcall.start()
        await publishing
        await assert_nothing_lost(database)
        assert rollcall.stop() == 0
    finally:
        publishing.cancel()
        rollcall.kill9()


async def test_postgres_killed_under_load_loses_nothing_and_it_goes_on_by_itself(
    broker: MosquittoServer, tmp_path: Path
) -> None:
    server = PostgresServer()
    rollcall: RollcallProcess | None = None
    try:
        server.start()
        database = server.dsn("postgres")
        await migrate(database)
        await add_integration(database, broker.port)
        rollcall = RollcallProcess(database, tmp_path / "log")
        rollcall.start()
        await connected_once(database)
        publishing = asyncio.create_task(publish_numbered(broker.port))
        for _ in range(2):
            await asyncio.sleep(1)
            server.kill9()
            server.start()
        await publishing
        await assert_nothing_lost(database)
    finally:
        if rollcall is not None:
            rollcall.kill9()
        server.destroy()
