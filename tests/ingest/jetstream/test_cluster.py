"""A cluster of three, two replicas: nodes and a replica killed under load, nothing is lost, nothing is there twice."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import asyncpg
import pytest

from ingest.simulate.link import look_why
from tests.crash.load import assert_rows_are_the_models, numbered
from tests.crash.setting import add_integration, connected_once
from tests.ingest.jetstream.conftest import send, visited
from tests.servers.nats import NatsCluster, NatsServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started
from tests.waiting import until

MESSAGES = 12_000
ANSWER_WITHIN_S = 3.0
TWICE = """select count(*) from (select from rollcall.device_events where retracted_at is null
    group by subject, kind, component, at having count(*) > 1) as twice"""


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    with started(NatsCluster()) as servers:
        yield servers


async def publish(cluster: NatsCluster, done: list[int]) -> None:
    """Publish all of it in order; what no node has answered is said again, to the next one."""
    waiting = list(numbered(MESSAGES))
    for node in itertools.cycle(cluster.nodes):
        device = aiomqtt.Client(
            node.host, node.mqtt_port, identifier=f"to-{node.name}", timeout=ANSWER_WITHIN_S
        )
        ended_at_once = device._disconnected
        try:
            async with device:
                while done[0] < len(waiting):
                    await device.publish(*waiting[done[0]], qos=1)
                    done[0] += 1
                return
        except aiomqtt.MqttError:
            await asyncio.sleep(0.1)
        finally:
            look_why(ended_at_once, device._disconnected)


@pytest.mark.timeout(240)
async def test_nodes_and_a_replica_killed_under_load_lose_nothing_and_double_nothing(
    database: str, cluster: NatsCluster, tmp_path: Path
) -> None:
    for node in cluster.nodes:
        await visited(node)
    nats = {"servers": cluster.addresses, "ack_wait_s": 5}
    await add_integration(database, 1, protocol="jetstream", nats=nats)
    first, second = [RollcallProcess(database, tmp_path / f"log{n}") for n in range(2)]
    first.start()
    second.start()
    done = [0]
    try:
        await connected_once(database)
        publishing = asyncio.create_task(publish(cluster, done))
        for share, node in enumerate(cluster.nodes, 1):
            await until(lambda at=share: done[0] >= at * MESSAGES // 5, 60, "a further fifth is published")
            await asyncio.to_thread(node.kill9)
            if share == 2:
                second.kill9()
            await asyncio.to_thread(node.start)
        await publishing
        await assert_rows_are_the_models(database, MESSAGES)
        connection = await asyncpg.connect(database)
        assert await connection.fetchval(TWICE) == 0
        await connection.close()
        assert first.stop() == 0
    finally:
        first.kill9()
        second.kill9()


async def test_what_a_replica_committed_and_could_not_acknowledge_is_there_once(
    database: str, tmp_path: Path
) -> None:
    """Without a time in the messages: only the stream's stamp can make the second delivery the same event."""
    with started(NatsServer()) as server:
        await visited(server)
        async with Proxy(server.port) as proxy:
            nats = {"servers": [f"127.0.0.1:{proxy.port}"], "ack_wait_s": 1}
            await add_integration(database, 1, protocol="jetstream", nats=nats)
            first = RollcallProcess(database, tmp_path / "first", ROLLCALL_MARKER_INTERVAL_S="60")
            second = RollcallProcess(database, tmp_path / "second")
            connection = await asyncpg.connect(database)
            try:
                first.start()
                await connected_once(database)
                await until(lambda: _waits(proxy), 10, "it pulls")
                proxy.swallow = True
                said = [(f"devices/d{n}/telemetry", b'{"fw":"v%d"}' % n, 1) for n in range(20)]
                said += [(f"devices/d{n}/connection", b"offline", 1) for n in range(20)]
                await send(server, *said)
                await until(lambda: _events(connection, 40), 15, "all is in the timeline")
                before = await _timeline(connection)
                first.kill9()
                proxy.swallow = False
                second.start()
                heard = "select heard_until from rollcall.mqtt_sessions"
                was = await connection.fetchval("select (extract(epoch from now()) * 1e6)::bigint + 2000000")
                await until(
                    lambda: _past(connection, heard, was), 20, "the second has acknowledged all of it"
                )
                assert await _timeline(connection) == before
                installs = "select count(*) from device_firmware_history"
                assert await connection.fetchval(installs) == 20
                assert second.stop() == 0
                told = re.search(r"stopped: (\d+) received", (tmp_path / "second").read_text())
                assert told is not None
                assert int(told[1]) >= 40, "they were not delivered again"
            finally:
                first.kill9()
                second.kill9()
                await connection.close()


async def _waits(proxy: Proxy) -> bool:
    return proxy.sent.count(b"MSG.NEXT") >= 3


async def _events(connection: asyncpg.Connection, least: int) -> bool:
    told = "select count(*) from rollcall.device_events where kind in ('firmware', 'offline')"
    return bool(await connection.fetchval(told) >= least)


async def _timeline(connection: asyncpg.Connection) -> list[str]:
    return sorted(
        [
            str(row)
            for row in await connection.fetch(
                "select (to_jsonb(e) - 'position')::text from rollcall.device_events e"
            )
        ]
    )


async def _past(connection: asyncpg.Connection, query: str, when: int) -> bool:
    return (await connection.fetchval(query) or 0) > when
