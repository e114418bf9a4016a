"""Hearing: who serves a session, and how far it has heard."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started

HEARD = "select count(*) from rollcall.mqtt_sessions where heard_until > heard_since"


@pytest.fixture
def no_marker(tmp_path: Path) -> Iterator[MosquittoServer]:
    """A broker where nobody may publish a marker."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite devices/#\ntopic read rollcall/#\n")
    acl.chmod(0o444)
    with started(MosquittoServer(f"acl_file {acl}")) as broker:
        yield broker


async def test_where_publishing_is_forbidden_quiet_says_how_far_was_heard(
    database: str, no_marker: MosquittoServer
) -> None:
    async with running(database, no_marker) as service:
        await service.connected(await service.add_integration())
        await service.sees(HEARD, 1, within_s=20)


async def test_the_quiet_of_a_dead_link_is_not_taken_for_heard(
    database: str, no_marker: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sessions.marker.QUIET_S", 0.5)
    later = "select count(*) from rollcall.mqtt_sessions where heard_until > $1"
    async with Proxy(no_marker.port) as link, running(database, no_marker) as service:
        await service.connected(await service.add_integration(port=link.port))
        await service.sees(HEARD, 1)
        link.stall()
        stalled_at = await service.pool.fetchval(
            "select (extract(epoch from clock_timestamp()) * 1e6)::bigint"
        )
        await asyncio.sleep(3)
        assert await service.pool.fetchval(later, stalled_at) == 0
        link.flow()
        await service.sees(later, 1, stalled_at)


async def test_a_killed_replica_is_followed_by_the_one_that_stood_by(
    database: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    first = RollcallProcess(database, tmp_path / "log", ROLLCALL_LEASE_TTL_S="3")
    try:
        first.start()
        async with running(database, mosquitto, lease_ttl_s=3) as service:
            # the process that runs as `first` may come second: kill it and either way one serves on
            await service.connected(await service.add_integration())
            await service.publish("devices/d1/telemetry", '{"battery": 1}')
            await service.sees("select battery_level from devices", 1)
            holders = await service.pool.fetch("select holder from rollcall.leases where name like 'mqtt/%'")
            assert len(holders) == 1
            first.kill9()
            await service.publish("devices/d1/telemetry", '{"battery": 2}')
            await service.sees("select battery_level from devices", 2, within_s=30)
            holder = await service.pool.fetchval(
                "select holder from rollcall.leases where name like 'mqtt/%'"
            )
            assert f"/{os.getpid()}/" in holder
    finally:
        first.kill9()
