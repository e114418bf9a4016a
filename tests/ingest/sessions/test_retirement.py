"""Sessions that are used no longer: what waits in them is committed before the broker forgets them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import asyncpg
import pytest

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started

DEVICES = "select count(*) from devices where battery_level = 1"
FORMER = "select count(*) from rollcall.mqtt_sessions where client_id like 'rollcall%'"
RENAMED = """update device_integrations set settings = settings || '{"client_id": "anew"}'"""
GAPS = "select count(*) from rollcall.device_events where kind = 'gap'"
WAITING = """
select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    and strpos(query, 'rollcall.sweep') = 0)
    and exists (select from rollcall.leases where name like 'mqtt/rollcall%')"""


@pytest.fixture(params=["write", "read"])
def no_marker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MosquittoServer]:
    """A broker where a marker may be published, or read, and not the other."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite devices/#\ntopic {request.param} rollcall/#\n")
    acl.chmod(0o444)
    with started(MosquittoServer(f"acl_file {acl}")) as broker:
        yield broker


async def heard_once(database: str, broker: MosquittoServer, **settings: object) -> None:
    """Let a service make its session, and stop it."""
    async with running(database, broker) as service:
        await service.connected(await service.add_integration(**settings))


async def speak(broker: MosquittoServer, devices: int) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as gateway:
        for n in range(devices):
            await gateway.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)


@contextlib.asynccontextmanager
async def no_commits(database: str) -> AsyncIterator[None]:
    """Let nothing of devices be committed meanwhile."""
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("lock table devices in exclusive mode")
            yield
    finally:
        await other.close()


async def rename(database: str) -> None:
    """Give the integration's session another client id."""
    connection = await asyncpg.connect(database)
    await connection.execute(RENAMED)
    await connection.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_retirement_without_markers_loses_nothing_while_nothing_can_be_committed(
    database: str, no_marker: MosquittoServer, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sessions.marker.QUIET_S", 0.5)
    await heard_once(database, no_marker, protocol=protocol)
    await speak(no_marker, 400)
    await rename(database)
    async with running(database, no_marker, lease_ttl_s=1) as service:
        async with no_commits(database):
            await service.sees(WAITING, True, within_s=20)
            await asyncio.sleep(3)  # several times as long as the quiet that would do
            assert await service.pool.fetchval(FORMER) == 1
        await service.sees(DEVICES, 400, within_s=20)
        await service.sees(FORMER, 0, within_s=20)


async def test_a_retirement_whose_link_breaks_does_not_stand_still(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with Proxy(mosquitto.port) as link:
        await heard_once(database, mosquitto, port=link.port)
        await speak(mosquitto, 50)
        await rename(database)
        # a window of 10: the link breaks before the marker has come
        async with running(database, mosquitto, lease_ttl_s=1, max_inflight=10) as service:
            async with no_commits(database):
                await service.sees(WAITING, True, within_s=20)
                link.cut()
            await service.sees(FORMER, 0)
            assert await service.pool.fetchval(DEVICES) == 50
            assert await service.pool.fetchval(GAPS) == 0


async def test_a_retirement_whose_process_is_killed_does_not_stand_still(
    database: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    await heard_once(database, mosquitto)
    await speak(mosquitto, 50)
    await rename(database)
    killed = RollcallProcess(database, tmp_path / "log")
    try:
        async with running(database, None) as looking, no_commits(database):
            killed.start()
            await looking.sees(WAITING, True, within_s=20)
            killed.kill9()
        async with running(database, mosquitto, lease_ttl_s=1) as service:
            await service.sees(FORMER, 0, within_s=15)
            assert await service.pool.fetchval(DEVICES) == 50
    finally:
        killed.kill9()


async def test_a_session_that_is_gone_at_the_broker_is_a_gap_and_is_forgotten(
    database: str, mosquitto: MosquittoServer
) -> None:
    await heard_once(database, mosquitto)
    mosquitto.kill9()
    (mosquitto.folder / "mosquitto.db").unlink(missing_ok=True)
    mosquitto.start()
    await rename(database)
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        await service.sees(FORMER, 0)
        assert await service.pool.fetchval(GAPS) == 1
