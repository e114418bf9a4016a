"""A flood of invented device ids: what it can write is bounded, in the database and in memory."""

import asyncio
import re
import tracemalloc
from uuid import UUID

import asyncpg

from benches.load import Client
from handlers.events import DeviceKey
from handlers.keys import codes
from handlers.shapes import _shapes, quickly_read
from handlers.topics import MAX_CACHED, Topics
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from ingest.store.queries import queries
from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer

IDS = 50_000
UNKNOWN = {"policy": "create", "max_per_minute": 100, "max_total": 150, "max_parked": 300}
ROWS = {
    "select count(*) from devices": 151,
    "select count(*) from rollcall.parked_devices": 300,
    "select count(*) from rollcall.dead_letters": 0,
    "select count(*) from rollcall.device_identity": 151,
    "select count(*) from rollcall.device_events": 151 * 2 + 300,
}
BUSIEST = "select count(*) from devices where external_device_id = 'known' and battery_level = "


async def turned_away(url: str) -> int:
    async with http_client() as client:
        page = (await client.get(f"{url}/metrics")).text
    return sum(
        int(float(one)) for one in re.findall(r"^rollcall_unknown_dropped_total\{.*\} (\S+)$", page, re.M)
    )


def flood(port: int) -> None:
    client = Client(port, "flood")
    client.publish((f"devices/x{n}/telemetry", b'{"battery":1}') for n in range(IDS))
    client.publish([("devices/known/telemetry", b'{"battery":99}')])
    client.close()


async def test_fifty_thousand_invented_ids_write_no_more_than_the_caps_and_the_known_device_has_its_turn(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration(unknown_devices=UNKNOWN))
        await service.publish("devices/known/telemetry", b'{"battery":1}')
        await service.sees(BUSIEST + "1", 1)
        await asyncio.to_thread(flood, mosquitto.port)
        await service.sees(BUSIEST + "99", 1, within_s=30)
        for query, most in ROWS.items():
            assert await service.pool.fetchval(query) <= most, query
        created = await service.pool.fetchval("select created_total from rollcall.integration_counts")
        assert 100 <= created <= 150
        assert await service.pool.fetchval("select count(*) from rollcall.parked_devices") == 300
        assert await turned_away(service.url) == IDS - (created - 1) - 300, (
            "each that found no room is counted"
        )


async def test_a_full_parking_lot_is_looked_through_in_a_moment(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        integration: UUID = await pool.fetchval(
            "with o as (insert into organizations (name, slug) values ('o', 'o') returning id)"
            " insert into device_integrations (organization_id, integration_type, name)"
            " select id, 'mqtt', 'm' from o returning id"
        )
        await pool.execute(
            "insert into devices (organization_id, integration_id, external_device_id, name, device_type,"
            " serial_number, hardware_ids) select organization_id, id, 'd' || n, 'd', 's', 's' || n, array['h' || n]"
            " from device_integrations, generate_series(1, 20000) n"
        )
        await pool.execute(
            "insert into rollcall.parked_devices (integration_id, external_device_id, key, evidence)"
            " select $1, 'x' || n, jsonb_build_object('external_id', 'x' || n, 'serial_number', 'xs' || n,"
            " 'hardware_ids', array['xh' || n]), '{}' from generate_series(1, 10000) n",
            integration,
        )
        explained = "explain (analyze, timing off) " + queries()["parked_with_device"]
        for statement in (
            "select 1",
            "analyze",
        ):  # a fleet that Postgres does not know yet, and one that it knows
            await pool.execute(statement)
            plan = await pool.fetch(explained, integration, "", None)
            took_ms = float(plan[-1][0].removeprefix("Execution Time: ").removesuffix(" ms"))
            assert took_ms < 3_000, "\n".join(row[0] for row in plan)


def test_what_a_device_chooses_fills_no_memory() -> None:
    topics = Topics.parse(None)
    tracemalloc.start()
    try:
        for n in range(MAX_CACHED + 10_000):
            topics.route(f"devices/{n:0250d}/telemetry")
            topics.route(f"devices/é{n}/telemetry")
        assert tracemalloc.get_traced_memory()[0] < 1 << 20, "long topics and odd ones are not kept"
        for n in range(30_000):
            quickly_read({f"key-{n:050d}": n, "battery": 1})
        assert len(codes) <= 20_000
        assert len(_shapes) <= 4_096
        assert tracemalloc.get_traced_memory()[0] < 32 << 20
    finally:
        tracemalloc.stop()


async def test_ids_without_a_row_are_not_remembered(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        integration = UUID(int=1)
        identities = Identities(pool)
        keys = [DeviceKey(f"x{n}") for n in range(5_000)]
        assert await identities.resolve(integration, keys, UnknownPolicy("ignore")) == {}
        assert identities.of(integration) == {}
