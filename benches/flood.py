"""Known devices during a flood of invented ids: their latency beside the one without it, and the rows written."""

import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import quantiles

import psycopg

from benches.drain import await_connection
from benches.latency import SECONDS, probe
from benches.process import peak_mib, start, stop
from benches.world import World
from ingest.store.commit.creation import UnknownPolicy

RATE = 1_000
"""Messages a second of known devices beside all of it."""
PACE = 5_000
NO_ROOM = ", none may be kept any more"
PATIENCE_S = 30.0
PARKED = "select count(*) from rollcall.parked_devices"
ROWS = """
select (select count(*) from devices where external_device_id like 'x%'),
    (select count(*) from rollcall.parked_devices), (select count(*) from rollcall.dead_letters),
    (select pg_database_size(current_database()) / 1024 / 1024)
"""


@dataclass(frozen=True, slots=True)
class Flooded:
    """What known devices had, and what the flood left behind. `beside` is what went on beside them."""

    beside: str
    seconds: float
    probes: int
    p50_ms: float
    p99_ms: float
    created: int
    parked: int
    dead_letters: int
    database_mib: int
    peak_mib: float


def floods(world: World, template: str, devices: int, ids: int) -> list[Flooded]:
    """Measure with nothing beside, a flood at PACE, one at full speed, and as much of known devices at full speed.

    A flood at PACE is measured from its first id on, and from when the integration may keep no more of them.
    """
    port = world.broker.port
    beside = {
        "nothing": None,
        f"{PACE:,} known devices a second": [port, PACE, devices - 1, SECONDS, "d"],
        f"{PACE:,} invented ids a second": [port, PACE, 10**9, SECONDS, "x"],
        f"{PACE:,} invented ids a second{NO_ROOM}": [port, PACE, 10**9, 2 * SECONDS, "x"],
        "invented ids at full speed": [port, ids, ids, 0, "x"],
        "known devices at full speed": [port, ids, devices - 1, 0, "d"],
    }
    return [_flooded(world, template, devices, name, load) for name, load in beside.items()]


def _flooded(world: World, template: str, devices: int, beside: str, load: list[object] | None) -> Flooded:
    place = world.place(template, "rollcall")
    process = start("rollcall", place)
    running = [_load([place.port, RATE, devices - 1, 3_600, "d"])]
    try:
        await_connection(process, place.port)
        time.sleep(2)
        running += [_load(load)] if load else []
        if beside.endswith(NO_ROOM):
            await_no_room(place.database)
        began = time.monotonic()
        taken = probe(
            place.database, place.port, f"d{devices - 1}", lambda: running[-1].poll() is None and bool(load)
        )
        seconds = time.monotonic() - began
        peak = peak_mib(process)
    finally:
        for one in running:
            one.kill()
            one.wait()
        stop(process)
    with psycopg.connect(place.database) as connection:
        rows = connection.execute(ROWS).fetchone()
    world.forget(place)
    cuts = quantiles(taken, n=100)
    return Flooded(beside, seconds, len(taken), cuts[49] * 1_000, cuts[98] * 1_000, *rows, peak)


def await_no_room(database: str) -> None:
    """Wait until as many ids are parked as may be.

    Raises: TimeoutError after PATIENCE_S.
    """
    end = time.monotonic() + PATIENCE_S
    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute(PARKED).fetchone() < (UnknownPolicy().max_parked,):
            if time.monotonic() > end:
                raise TimeoutError(f"there is still room for ids after {PATIENCE_S} s")
            time.sleep(0.1)


def _load(arguments: list[object]) -> subprocess.Popen:
    command = [sys.executable, "-m", "benches.load", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)
