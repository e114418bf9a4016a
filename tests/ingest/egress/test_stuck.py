"""Calls that never return: they cost the rows that asked for them, not the database and not the end of the process."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ingest.egress.blocking import Blocking
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.rollcall import RollcallProcess
from tests.waiting import until

STUCK = """
import socket, threading
own = socket.getaddrinfo
def getaddrinfo(host, *args, **more):
    if str(host).startswith("stuck"):
        threading.Event().wait()
    return own(host, *args, **more)
socket.getaddrinfo = getaddrinfo
"""


async def test_look_ups_that_never_end_hold_up_neither_the_database_nor_other_brokers(
    database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, release, asked = socket.getaddrinfo, threading.Event(), set[str]()

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if str(host).startswith("stuck"):
            asked.add(host)
            release.wait(60)
            raise OSError("released")
        return own(host, *arguments, **more)

    monkeypatch.setattr("ingest.egress.gate.socket.getaddrinfo", look_up)
    try:
        async with running(database, mosquitto) as service:
            for number in range(40):  # more than the threads of the event loop's own executor
                await service.add_integration(f"s{number}", host=f"stuck{number}.example", port=1883)
            await until(lambda: len(asked) == 40, 60, "all names are looked up")
            integration = await service.add_integration("good", host="localhost")
            await service.connected(integration)
            await service.publish("devices/d1/telemetry", b'{"battery": 50}')
            await service.sees(
                "select count(*) from devices where integration_id = $1 and status = 'online'", 1, integration
            )
            async with asyncpg.create_pool(database.replace("127.0.0.1", "localhost"), min_size=1) as pool:
                assert await pool.fetchval("select 1") == 1
    finally:
        release.set()


async def test_waiting_for_a_call_has_an_end_and_a_name_takes_one_thread_however_many_ask() -> None:
    release, calls = threading.Event(), []

    def stuck() -> None:
        calls.append(1)
        release.wait(60)

    blocking = Blocking(2, 0.2)
    for _ in range(2):
        results = await asyncio.gather(
            *(blocking.run("name", stuck) for _ in range(20)), return_exceptions=True
        )
        assert all(isinstance(one, TimeoutError) for one in results)
    assert len(calls) == 1
    assert await blocking.run("other", lambda: 7) == 7
    release.set()


async def test_names_that_were_too_slow_once_keep_no_others_waiting_a_second_time() -> None:
    release = threading.Event()
    blocking = Blocking(8, 0.3)
    slow = [f"slow{number}" for number in range(8)]

    async def look_all_up() -> None:
        asked = (blocking.run(name, lambda: release.wait(60)) for name in slow)
        assert all(
            isinstance(one, TimeoutError) for one in await asyncio.gather(*asked, return_exceptions=True)
        )

    await look_all_up()
    release.set()
    await until(lambda: not blocking._under_way, 5, "the slow calls have ended")
    release.clear()
    again = asyncio.create_task(look_all_up())
    await until(lambda: bool(blocking._under_way), 5, "the slow calls are made again")
    assert await asyncio.wait_for(blocking.run("good", lambda: 7), 0.2) == 7
    await again
    release.set()


class _Stuck(RollcallProcess):
    def start(self) -> None:
        code = STUCK + "from ingest.cli import main; main()"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, "run"], env=self._environment, stdout=log, stderr=log
            )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_while_a_call_never_returns(
    database: str, pool: asyncpg.Pool, tmp_path: Path, number: signal.Signals
) -> None:
    organization = await pool.fetchval(
        "insert into organizations (name, slug) values ('a', 'a') returning id"
    )
    await pool.execute(
        "insert into device_integrations (organization_id, integration_type, name, settings)"
        """ values ($1, 'mqtt', 'm', '{"host": "stuck.example"}')""",
        organization,
    )
    process = _Stuck(database, tmp_path / "log")
    process.start()
    try:
        attempts = "select count(*) from rollcall.mqtt_sessions where state = 'away'"

        async def tried() -> bool:
            return bool(await pool.fetchval(attempts))

        await until(tried, 30, "the look-up was given up")
        assert await asyncio.to_thread(process._end, number) == 0
    finally:
        process.kill9()


async def test_a_signal_ends_a_process_whose_event_loop_stands_still(tmp_path: Path) -> None:
    code = """
import asyncio, threading
from ingest.cli import run
run.END_WITHIN_S = 0.5
async def stand_still():
    with run.stopped_by_signals(asyncio.Event()):
        print("ready", flush=True)
        threading.Event().wait()
asyncio.run(stand_still())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
