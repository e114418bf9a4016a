"""Memory: what Rollcall holds a while after its start, at most while it drains, and a while after that."""

import time
from dataclasses import dataclass

import psutil

from benches.contenders.place import Place
from benches.drain import await_connection, await_last, rows_wrong
from benches.load import Client, backlog, device, expected
from benches.process import peak_mib, start, stop
from benches.world import World

FLEETS = (20_000, 100_000)
MESSAGES = 1_000_000
IDLE_S = 60.0
HTTP = {"ROLLCALL_HTTP": "on", "ROLLCALL_HTTP_PORT": "0"}
"""As it runs with its defaults: webhooks, the API and the pages about its health are there."""


@dataclass(frozen=True, slots=True)
class Held:
    """Resident MiB of one process."""

    devices: int
    messages: int
    idle_mib: float
    peak_mib: float
    after_mib: float
    rows_wrong: int


def memory(
    world: World, messages: int, fleets: tuple[int, ...] = FLEETS, idle_s: float = IDLE_S
) -> list[Held]:
    """Measure one process for each fleet."""
    return [_held(world, messages, devices, idle_s) for devices in fleets]


def _held(world: World, messages: int, devices: int, idle_s: float) -> Held:
    place = world.place(world.known(devices), "rollcall")
    process = start("rollcall", place, HTTP)
    try:
        await_connection(process, place.port)
        idle = _rest(process, idle_s)
        _fill(process, place, messages, devices)
        await_last(place.database, process, device(messages - 1, devices))
        peak = peak_mib(process)
        after = _rest(process, idle_s)
    finally:
        stop(process)
    wrong = rows_wrong(place.database, expected(messages, devices))
    world.forget(place)
    return Held(devices, messages, idle, peak, after, wrong)


def _rest(process: psutil.Popen, seconds: float) -> float:
    """Leave it alone for so long; return the MiB that it holds then."""
    time.sleep(seconds)
    return process.memory_info().rss / 2**20


def _fill(process: psutil.Popen, place: Place, messages: int, devices: int) -> None:
    """Stop the process (SIGSTOP) until its session holds all messages, so that there is a backlog to drain."""
    process.suspend()
    publisher = Client(place.port, "bench-publisher")
    try:
        publisher.publish(backlog(messages, devices))
    finally:
        process.resume()
    publisher.close()


def as_lines(found: list[Held]) -> list[str]:
    """Return the table in Markdown."""
    lines = [
        "| devices | idle MiB | messages drained | peak MiB | idle MiB afterwards | rows wrong |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {one.devices:,} | {one.idle_mib:.0f} | {one.messages:,} | {one.peak_mib:.0f} | {one.after_mib:.0f}"
        f" | {one.rows_wrong} |"
        for one in found
    ]
