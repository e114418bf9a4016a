"""Live latency of Rollcall: a probe message beside a steady load, from before its publish until a poller sees it."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

import psycopg

from benches.drain import await_connection
from benches.load import Client
from benches.process import start, stop
from benches.world import World

SECONDS = 8.0
POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from publish to committed and visible."""

    rate: int
    achieved: float
    devices: int
    probes: int
    p50_ms: float
    p99_ms: float


def latency(world: World, template: str, rate: int, devices: int) -> Latency:
    """Publish `rate` messages a second to all devices but the last; probe the last one."""
    place = world.place(template, "rollcall")
    process = start("rollcall", place)
    command = [sys.executable, "-m", "benches.load", str(place.port), str(rate), str(devices - 1)]
    try:
        await_connection(process, place.port)
        with subprocess.Popen([*command, str(SECONDS + 3)], stdout=subprocess.PIPE) as load:
            time.sleep(2)
            taken = probe(place.database, place.port, f"d{devices - 1}")
            sent = int(load.communicate()[0])
    finally:
        stop(process)
    world.forget(place)
    cuts = quantiles(taken, n=100)
    return Latency(rate, sent / (SECONDS + 3), devices, len(taken), cuts[49] * 1_000, cuts[98] * 1_000)


def probe(database: str, port: int, device: str, goes_on: Callable[[], bool] = lambda: False) -> list[float]:
    """Publish one probe after the other; return the seconds that each took to be seen in its row.

    Goes on for SECONDS, and then while `goes_on`.
    """
    client = Client(port, "bench-probe")
    sql = "select battery_level, signal_strength from devices where id = %s"
    taken: list[float] = []
    with psycopg.connect(database, autocommit=True) as connection:
        (device_id,) = connection.execute(
            "select id from devices where external_device_id = %s", [device]
        ).fetchone()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or goes_on():
            n = len(taken)
            wanted = n % 100, -(n // 100 % 120) - 1
            body = b'{"battery":%d,"rssi":%d,"ts":%d}' % (*wanted, time.time_ns() // 1_000)
            began = time.perf_counter()
            client.publish([(f"devices/{device}/telemetry", body)])
            while connection.execute(sql, [device_id]).fetchone() != wanted:
                time.sleep(POLL_S)
            taken.append(time.perf_counter() - began)
            time.sleep(0.003)
    client.close()
    return taken
