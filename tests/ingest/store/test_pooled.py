"""The service behind a pgbouncer, and what a commit promises there."""

import os
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.pgbouncer import PgBouncer, executable
from tests.servers.postgres import PostgresServer

BATTERY = "select battery_level from devices where external_device_id = $1"


@pytest.fixture(params=["transaction", "session"])
def bouncer(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    if executable() is None and not os.environ.get("CI"):
        pytest.skip("no pgbouncer here: install Debian's pgbouncer")
    mode: Literal["transaction", "session"] = request.param
    started = PgBouncer(postgres_server, mode)
    try:
        started.start()
        yield started
    finally:
        started.stop()


async def test_messages_and_webhooks_reach_the_rows_through_a_pooler(
    database: str, bouncer: PgBouncer, mosquitto: MosquittoServer
) -> None:
    pooled = bouncer.dsn(database.rpartition("/")[2])
    direct = database if bouncer.mode == "transaction" else None
    async with running(database, mosquitto, database_url=pooled, database_direct_url=direct) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", b'{"battery": 41}')
        await service.sees(BATTERY, 41, "d1")
        hooks = await service.add_webhooks(webhook={"auth": "none"})
        event = {"event": "device.telemetry", "device": {"id": "d2"}, "telemetry": {"battery": 42}}
        async with http_client() as client:
            answer = await client.post(f"{service.url}/webhooks/{hooks}", json=event)
        assert answer.status_code == 200, answer.text
        await service.sees("select count(*) from devices", 2)


async def test_what_is_acknowledged_is_on_the_disk_also_where_the_database_says_otherwise(
    database: str, mosquitto: MosquittoServer
) -> None:
    name = database.rpartition("/")[2]
    async with running(database, mosquitto) as service:
        await service.pool.execute(f"alter database {name} set synchronous_commit = off")
        await service.pool.execute("create table said (setting text)")
        await service.pool.execute(
            "create function say() returns trigger language plpgsql as $$ begin"
            " insert into said values (current_setting('synchronous_commit')); return null; end $$"
        )
        await service.pool.execute(
            "create trigger say after insert or update on rollcall.device_state execute function say()"
        )
    async with running(database, mosquitto) as service:
        assert await service.pool.fetchval("show synchronous_commit") == "off"
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", b'{"battery": 41}')
        await service.sees(BATTERY, 41, "d1")
        assert await service.pool.fetchval("select array_agg(distinct setting) from said") == ["on"]
