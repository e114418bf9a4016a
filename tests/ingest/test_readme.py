"""The README's own lines, one after the other as a person types them, with a real broker and database."""

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.servers.mosquitto import MosquittoServer, binary
from tests.servers.rollcall import RollcallProcess
from tests.servers.started import started
from tests.test_house import commands_of
from tests.waiting import until

ROLLCALL = [sys.executable, "-c", "from ingest.cli import main; main()"]


async def said(line: str, environment: dict[str, str]) -> str:
    """Run a line of the README; what it says. A failure fails the test."""
    words = shlex.split(line)
    command = [*ROLLCALL, *words[1:]] if words[0] == "rollcall" else [binary(words[0]), *words[1:]]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, f"{line}: {output.decode()}"
    return output.decode()


@pytest.fixture
def broker():
    with started(MosquittoServer(users={"rollcall": "secret"})) as server:
        yield server


async def test_the_readmes_lines_bring_a_published_message_into_its_row(
    empty_database: str, broker: MosquittoServer, tmp_path: Path
):
    environment = {
        **os.environ,
        "ROLLCALL_DATABASE_URL": empty_database,
        "BROKER_PASSWORD": "secret",
        "ROLLCALL_KEYS": "k1:" + "A" * 43 + "=",
    }
    here = (
        ("--host broker.example", f"--host 127.0.0.1 --port {broker.port}"),
        (
            "-h broker.example",
            f"-h 127.0.0.1 -p {broker.port}",
        ),
    )
    lines = [
        line.replace(*here[0]).replace(*here[1]).replace('"$BROKER_PASSWORD"', "secret")
        for line in commands_of("README.md")
        if line.startswith(("rollcall ", "mosquitto_pub "))
    ]
    before, after = lines[: lines.index("rollcall run")], lines[lines.index("rollcall run") + 1 :]
    for line in before:
        await said(line, environment)
    rollcall = RollcallProcess(empty_database, tmp_path / "log", ROLLCALL_KEYS=environment["ROLLCALL_KEYS"])
    rollcall.start()
    try:
        await until(lambda: "connected" in rollcall.log.read_text(), 20, "Rollcall is connected")
        assert after[0].startswith("mosquitto_pub ")
        await said(after[0], environment)

        async def shown() -> bool:
            return "87" in await said("rollcall devices list", environment)

        await until(shown, 20, "the battery level is in the list of devices")
        for line in after[1:]:
            if "--type" not in line and not line.startswith(
                "rollcall sync"
            ):  # a cloud: tests/ingest/reconcile
                await said(line, environment)
        assert "1.4.2" in await said("rollcall devices show pump-7", environment)
    finally:
        rollcall.kill9()
