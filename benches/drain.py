"""Drain a backlog with one contender and measure it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import psycopg

from benches.acknowledged import await_read
from benches.load import LAST, Client, backlog, device, expected
from benches.process import cpu, peak_mib, start, stop
from benches.world import World

WITHIN_S = 300.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Drained:
    """What one contender did with its backlog.

    `seconds` end when the broker has read the last acknowledgement, `written_s` when the last row is written.
    """

    contender: str
    devices: int
    messages: int
    seconds: float
    written_s: float
    per_second: float
    cpu_us: float
    postgres_cpu_us: float
    peak_mib: float
    rows_wrong: int


def drain(
    world: World,
    template: str,
    contender: str,
    messages: int,
    devices: int,
    settings: Mapping[str, str] | None = None,
    stride: int = 1,
    steady: bool = False,
    lap: int = 0,
) -> Drained:
    """Fill the contender's session, let it connect to a broker that stands still, let that go on, wait for the end.

    The first `lap` messages, at most one a device, come before what is measured.
    """
    place = world.place(template, contender)
    publisher = Client(place.port, "bench-publisher")
    publisher.publish(backlog(lap + messages, devices, stride, steady))
    publisher.close()
    world.broker.freeze()
    process = start(contender, place, settings)
    try:
        await_connection(process, place.port)
        if lap:
            with newer(place.database, process, device(lap - 1, devices, stride)):
                world.broker.thaw()
        before, postgres_before = cpu(process), postgres_cpu(world)
        began = time.monotonic()
        world.broker.thaw()
        await_last(place.database, process, device(lap + messages - 1, devices, stride))
        written_s = time.monotonic() - began
        await_read(process, place.port)
        seconds = time.monotonic() - began
        spent, postgres_spent = cpu(process) - before, postgres_cpu(world) - postgres_before
        peak = peak_mib(process)
    finally:
        world.broker.thaw()
        stop(process)
    wrong = rows_wrong(place.database, expected(lap + messages, devices, stride, steady))
    world.forget(place)
    each = 1e6 / messages
    return Drained(
        contender,
        devices,
        messages,
        seconds,
        written_s,
        messages / seconds,
        spent * each,
        postgres_spent * each,
        peak,
        wrong,
    )


def await_connection(process: psutil.Popen, port: int, within_s: float = 30) -> None:
    """Wait until the contender has opened its connection to the broker."""
    end = time.monotonic() + within_s
    while not any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
        if time.monotonic() > end or process.poll() is not None:
            raise RuntimeError("the contender does not connect")
        time.sleep(0.02)
    time.sleep(0.3)


def await_last(database: str, process: psutil.Popen, of: str) -> None:
    """Wait until the last message's effect is in the row of the device that it is of: contenders apply in order."""
    end = time.monotonic() + WITHIN_S
    sql = "select battery_level, signal_strength from devices where id = %s"
    with psycopg.connect(database, autocommit=True) as connection:
        device_id = connection.execute(
            "select id from devices where external_device_id = %s", [of]
        ).fetchone()
        while connection.execute(sql, device_id).fetchone() != LAST:
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError("the backlog was not drained")
            time.sleep(POLL_S)


@contextmanager
def newer(database: str, process: psutil.Popen, of: str) -> Iterator[None]:
    """Wait, at the end of the block, until this device's row says that it was seen later than at its beginning."""
    sql, end = "select last_seen from devices where external_device_id = %s", time.monotonic() + WITHIN_S
    with psycopg.connect(database, autocommit=True) as connection:
        before = connection.execute(sql, [of]).fetchone()
        yield
        while connection.execute(sql, [of]).fetchone() == before:
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError("the first lap was not drained")
            time.sleep(POLL_S)


def rows_wrong(database: str, wanted: Mapping[str, tuple[int, int]]) -> int:
    """Count the devices whose row does not say what their last message said: battery and signal."""
    return len(devices_wrong(database, wanted))


def devices_wrong(database: str, wanted: Mapping[str, tuple[int, int]]) -> set[str]:
    """Return the names of the same."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("select external_device_id, battery_level, signal_strength from devices")
        found = {name: (battery, signal) for name, battery, signal in rows}
    return {name for name, value in wanted.items() if found.get(name) != value}


def postgres_cpu(world: World) -> float:
    """The same of Postgres, of the processes that run and those that have ended."""
    postmaster = psutil.Process(world.postgres.pid)
    ended = postmaster.cpu_times()
    total = ended.children_user + ended.children_system
    for child in postmaster.children():
        try:
            total += cpu(child)
        except psutil.NoSuchProcess:
            continue
    return total
