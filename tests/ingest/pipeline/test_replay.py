"""Replay of dead letters, through the command line as a person on call would do it."""

import asyncio
import os
import sys

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer


async def test_a_replayed_dead_letter_counts_as_of_when_it_was_received_and_is_gone(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.pool.execute("alter table devices add constraint odd check (battery_level <> 13)")
        await service.publish("devices/d1/telemetry", '{"battery": 13}')
        await service.publish("devices/d1/telemetry", "{broken")
        await service.sees("select count(*) from rollcall.dead_letters", 2)
        await service.pool.execute("alter table devices drop constraint odd")
        ids = {
            row["kind"]: str(row["id"])
            for row in await service.pool.fetch("select * from rollcall.dead_letters")
        }
        received_at = await service.pool.fetchval(
            "select rollcall.timestamp_of(received_at) from rollcall.dead_letters where kind like 'refused%'"
        )
        code, said = await _replay(database, *ids.values())
        assert code == 1
        assert f"{ids['refused.23514']} applied" in said
        assert f"{ids['json']} stays: " in said
        row = await service.pool.fetchrow("select battery_level, last_seen_online from devices")
        assert tuple(row) == (13, received_at)
        assert await service.pool.fetchval("select array_agg(kind) from rollcall.dead_letters") == ["json"]


async def _replay(database: str, *ids: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from ingest.cli import main; main()", "dead-letters", "replay"),
        *ids,
        env={**os.environ, "ROLLCALL_DATABASE_URL": database},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, said.decode()
