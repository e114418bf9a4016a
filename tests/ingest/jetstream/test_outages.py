"""Bad messages and a database that is away: what is in the stream ends in the rows or among the dead letters, once."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from nats.js.api import ConsumerInfo

from ingest.jetstream.consumers import STREAM
from ingest.migrate.runner import migrate
from tests.crash.setting import add_integration, connected_once
from tests.ingest.jetstream.conftest import manager, send, visited
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started
from tests.waiting import until

DEVICES = 50
ACK_WAIT_S = 1


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with started(PostgresServer()) as server:
        yield server


@pytest.fixture
async def rollcall(
    nats: NatsServer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[RollcallProcess]:
    await visited(nats)
    await migrate(postgres.dsn())
    settings = {"servers": [nats.address], "ack_wait_s": ACK_WAIT_S}
    await add_integration(postgres.dsn(), 1, protocol="jetstream", nats=settings)
    process = RollcallProcess(postgres.dsn(), tmp_path / "log")
    process.start()
    try:
        await connected_once(postgres.dsn())
        yield process
    finally:
        process.kill9()


async def test_what_cannot_be_decoded_is_a_dead_letter_and_is_acknowledged(
    nats: NatsServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    await send(nats, ("devices/a/telemetry", b"\xff{", 1), ("devices/b/telemetry", b'{"battery":7}', 1))
    await until(lambda: _all_acknowledged(nats, 2), 15, "both are acknowledged")
    connection = await asyncpg.connect(postgres.dsn())
    letters = await connection.fetch("select topic, qos, payload from rollcall.dead_letters")
    assert [tuple(one) for one in letters] == [("devices/a/telemetry", 1, b"\xff{")]
    assert await connection.fetchval("select battery_level from devices") == 7
    await connection.close()
    assert rollcall.stop() == 0


async def test_while_the_database_is_away_messages_come_again_and_then_all_are_there_once(
    nats: NatsServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    """Without a time in the messages, so that only the stream's stamp can make a second delivery the same event."""
    postgres.stop()
    for version, presence in (("v1", b"online"), ("v2", b"offline")):
        await send(nats, *[(f"devices/d{n}/connection", presence, 1) for n in range(DEVICES)])
        said = b'{"fw":"%s"}' % version.encode()
        await send(nats, *[(f"devices/d{n}/telemetry", said, 1) for n in range(DEVICES)])
    await until(lambda: _came_again(nats, 4 * DEVICES), 20, "all was delivered a second time")
    postgres.start()
    await until(lambda: _all_acknowledged(nats, 4 * DEVICES), 30, "all is acknowledged")
    assert rollcall.stop() == 0
    connection = await asyncpg.connect(postgres.dsn())
    installs = await connection.fetch("select firmware_version from device_firmware_history")
    assert Counter(one[0] for one in installs) == {"v1": DEVICES, "v2": DEVICES}
    kinds = "select kind, count(*) from rollcall.device_events where retracted_at is null group by kind"
    events = dict(await connection.fetch(kinds))
    assert events["firmware"] == 2 * DEVICES
    assert events["offline"] == DEVICES
    await connection.close()


async def test_while_the_database_is_away_what_cannot_be_decoded_comes_again_and_is_one_dead_letter(
    nats: NatsServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    postgres.stop()
    await send(nats, *[("devices/a/telemetry", b"\xff{", 1)] * 2)
    await until(lambda: _came_again(nats, 2), 20, "both were delivered a second time")
    postgres.start()
    await until(lambda: _all_acknowledged(nats, 2), 30, "both are acknowledged")
    assert rollcall.stop() == 0
    connection = await asyncpg.connect(postgres.dsn())
    letters = await connection.fetch("select topic, payload from rollcall.dead_letters")
    assert [tuple(one) for one in letters] == [("devices/a/telemetry", b"\xff{")] * 2
    await connection.close()


async def test_what_waits_when_the_topics_change_is_applied(
    nats: NatsServer, postgres: PostgresServer, rollcall: RollcallProcess
) -> None:
    rollcall.stop()
    await send(nats, ("devices/a/telemetry", b'{"battery":7}', 1))
    connection = await asyncpg.connect(postgres.dsn())
    topics = '{"topics": {"telemetry": "{}/{device_id}/telemetry"}}'
    await connection.execute("update device_integrations set settings = settings || $1", topics)
    rollcall.start()

    async def applied() -> bool:
        return await connection.fetchval("select battery_level from devices") == 7

    await until(applied, 20, "the message is in the row")
    await connection.close()
    assert rollcall.stop() == 0


async def _consumers(server: NatsServer) -> list[ConsumerInfo]:
    async with manager(server) as someone:
        return [one for one in await someone.consumers_info(STREAM) if one.name.startswith("rollcall")]


async def _came_again(server: NatsServer, count: int) -> bool:
    """Whether twice as many were delivered as there are messages."""
    delivered = [one.delivered.consumer_seq for one in await _consumers(server) if one.delivered]
    return sum(delivered) >= 2 * count


async def _all_acknowledged(server: NatsServer, count: int) -> bool:
    consumers = await _consumers(server)
    waiting = sum((one.num_pending or 0) + (one.num_ack_pending or 0) for one in consumers)
    return sum(one.delivered.consumer_seq for one in consumers if one.delivered) >= count and not waiting
