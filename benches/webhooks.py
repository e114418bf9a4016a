"""Webhooks: single events over keep-alive connections, and bodies of 100; each answered after its commit."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benches.contenders.place import Place
from benches.drain import postgres_cpu
from benches.process import cpu, stop
from benches.world import INTEGRATION, World

SECONDS = 6.0
SHAPES = ((64, 1), (64, 100))
"""Connections, events in a body."""
SECRET = "bench-secret-of-webhooks"
PATH = f"/webhooks/{INTEGRATION}"
TAKES_WEBHOOKS = """update device_integrations set webhook_enabled = true, webhook_secret = %s,
    settings = settings || '{"webhook": {"auth": "header", "shape": "generic"}}'"""


@dataclass(frozen=True, slots=True)
class Posted:
    """What one contender did with one form of request."""

    contender: str
    devices: int
    connections: int
    events_a_body: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    postgres_cpu_us: float


def webhooks(world: World, devices: int, seconds: float = SECONDS) -> list[Posted]:
    """Measure Rollcall and the bare route with each form of request."""
    place = world.place(world.seed(devices), "rollcall")
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute(TAKES_WEBHOOKS, [SECRET])
    posted = []
    for contender in ("rollcall", "answering"):
        with serving(contender, place) as (process, port):
            if contender == "rollcall":
                post(port, 8, 100, devices, devices / 10_000)  # each device has been heard once before
            posted += [measured(world, contender, process, port, devices, shape, seconds) for shape in SHAPES]
    world.forget(place)
    return posted


def measured(
    world: World,
    contender: str,
    process: psutil.Process,
    port: int,
    devices: int,
    shape: tuple[int, int],
    seconds: float,
) -> Posted:
    """Post for a while."""
    before, postgres_before = cpu(process), postgres_cpu(world)
    events, took, p50, p99 = post(port, *shape, devices, seconds)
    each = 1e6 / events
    spent, postgres_spent = cpu(process) - before, postgres_cpu(world) - postgres_before
    return Posted(contender, devices, *shape, events / took, p50, p99, spent * each, postgres_spent * each)


def post(port: int, connections: int, each: int, devices: int, seconds: float) -> tuple[float, ...]:
    """Let the client's process post; return events, seconds, p50 and p99 in ms."""
    arguments = [port, PATH, SECRET, connections, each, devices, seconds]
    command = [sys.executable, "-m", "benches.webhook_load", *map(str, arguments)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    return tuple(map(float, told.stdout.split()))


@contextmanager
def serving(contender: str, place: Place) -> Iterator[tuple[psutil.Popen, int]]:
    """Run a contender; yield its process and the port that its log names."""
    http = {
        "ROLLCALL_MQTT": "off",
        "ROLLCALL_HTTP": "on",
        "ROLLCALL_HTTP_PORT": "0",
        "ROLLCALL_LOG_LEVEL": "info",
    }
    command = [sys.executable, "-m", f"benches.contenders.{contender}"]
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = psutil.Popen(command, env={**place.environment(), **http}, stderr=output)
        try:
            yield process, _port(process, log)
        finally:
            stop(process)


def _port(process: psutil.Popen, log: Path, within_s: float = 30) -> int:
    end = time.monotonic() + within_s
    while not (found := re.search(r"HTTP listens on http://\S+:(\d+)", log.read_text())):
        if time.monotonic() > end or process.poll() is not None:
            raise RuntimeError(f"the contender does not listen: {log.read_text()}")
        time.sleep(0.02)
    time.sleep(0.5)
    return int(found.group(1))
