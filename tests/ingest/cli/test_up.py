import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import pytest

from ingest.local.postgres import binaries, system_user

READY_WITHIN_S = 60
ENOUGH_S = 90


class Up:
    """`rollcall up` in a process of its own; its lines are read as they come."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "ingest.cli", "up", "--data", str(folder), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._watchdog = threading.Timer(ENOUGH_S, self.process.kill)
        self._watchdog.start()
        self.lines: list[str] = []

    def until(self, pattern: str) -> re.Match[str]:
        """Read until a line matches."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"{pattern!r} never came:\n" + "\n".join(self.lines))

    def rest(self) -> str:
        """Read to the end and return all of the output."""
        self.lines += [line.rstrip() for line in self.process.stdout]
        self.process.wait(timeout=30)
        return "\n".join(self.lines)

    def close(self) -> None:
        """End it in order whatever happened."""
        if self.process.stdout.closed:
            return
        self.process.send_signal(signal.SIGTERM)
        self.rest()
        self._watchdog.cancel()
        self.process.stdout.close()


@pytest.fixture
def up(tmp_path):
    """Start `rollcall up` on one data folder."""
    runs: list[Up] = []

    def start(*arguments: str) -> Up:
        runs.append(Up(tmp_path / "data", *arguments))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def ports(text: str) -> list[int]:
    found = re.findall(r"127\.0\.0\.1:(\d+)", text)
    return sorted({int(port) for port in found})


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def of_folder(folder: Path) -> list[str]:
    """The command lines that name our folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_every_device_comes_online_and_everything_is_stopped_at_the_end(up, tmp_path):
    run = up("--devices", "10", "--for", "8")
    run.until(r"online 10 .*firmware .*x10")
    output = run.rest()
    assert run.process.returncode == 0, output
    assert "everything is kept in" in output
    assert of_folder(tmp_path) == []
    assert not [port for port in ports(output) if listens(port)]


def test_a_second_run_keeps_the_data(up):
    first = up("--devices", "3")
    first.until(r"online 3 ")
    first.process.send_signal(signal.SIGINT)
    assert first.rest()
    assert first.process.returncode == 0
    assert up("--devices", "0").until(r"online (\d+)  offline (\d+)").groups() in {("3", "0"), ("0", "3")}


def test_a_service_that_was_killed_is_started_again_and_commits_on(up):
    run = up("--devices", "5", "--rate", "50")
    pid = int(run.until(r"Rollcall  pid (\d+)")[1])
    committed = int(run.until(r"online 5 .*committed (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    run.until(rf"pid (?!{pid} )\d+  restarts 1")
    while int(run.until(r"committed (\d+)")[1]) < committed + 200:
        pass


def test_a_second_run_at_the_same_time_in_the_same_folder_is_refused(up):
    up("--devices", "1").until("Rollcall  pid")
    second = up("--devices", "1")
    assert "another `rollcall up` uses" in second.rest()
    assert second.process.returncode == 1


def test_a_copy_beside_it_finds_other_ports(up, tmp_path):
    first = up("--devices", "1")
    first.until("Try next")
    copy = Up(tmp_path / "copy", "--devices", "1")
    try:
        copy.until("Try next")
        assert not set(ports("\n".join(first.lines))) & set(ports("\n".join(copy.lines)))
    finally:
        copy.close()


def test_what_a_killed_run_left_is_ended_by_the_next(up, tmp_path):
    first = up("--devices", "2")
    service = int(first.until(r"Rollcall  pid (\d+)")[1])
    first.until(r"online 2 ")
    first.process.kill()
    first.rest()
    second = up("--devices", "2")
    second.until(r"online 2 ")
    assert not runs(service)
    assert sum("postgres" in words and " -D " in words for words in of_folder(tmp_path / "data")) == 1
    second.close()
    assert of_folder(tmp_path) == []


def test_what_it_says_to_try_next_works(up):
    run = up("--devices", "1")
    url = run.until(r"Postgres  (postgresql://\S+)")[1]
    psql = run.until(r"  (\S*psql .*)")[1]
    publish = run.until(r"  (mosquitto_pub .*)")[1]
    show = run.until(r"  rollcall (devices show .*)")[1]
    run.until(r"online 1 ")
    subprocess.run(publish, shell=True, check=True, timeout=30)
    run.until(r"online 2 ")
    assert re.search(r"my-first-device *\| online *\| +42 \| 9\.9\.9", output(psql))
    assert "timeline, newest first" in output(f"{sys.executable} -m ingest.cli {show}")
    tested = output(f"{sys.executable} -m ingest.cli integration test local --json --database-url {url}")
    assert json.loads(tested)["devices/+/telemetry"] == "granted, QoS 1"


def output(command: str) -> str:
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True, timeout=60).stdout


async def test_nobody_else_on_the_machine_gets_into_its_database(up, tmp_path):
    run = up("--devices", "1")
    url = run.until(r"Postgres  (postgresql://\S+)")[1]
    run.until(r"online 1 ")
    pgpass = tmp_path / "data" / "postgres" / "pgpass"
    assert pgpass.stat().st_mode & 0o077 == 0
    secret = pgpass.read_text().strip().rpartition(":")[2]
    assert len(secret) == 64
    assert secret not in "\n".join([*run.lines, *of_folder(tmp_path)])
    for password in (None, "guessed"):
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(url.partition("?")[0], password=password, passfile="/nowhere", timeout=10)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("show password_encryption") == "scram-sha-256"
    await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres runs as another user")
def test_no_folder_is_opened_without_a_line_in_the_log(tmp_path, caplog):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "postgres").mkdir()
    system_user(closed / "postgres", binaries())
    assert closed.stat().st_mode & 0o001
    assert f"chmod o+x {closed}" in caplog.text
