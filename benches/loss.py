"""Kill each contender while it drains, start it again, and count the rows that never say what was sent."""

import subprocess
import time
from dataclasses import dataclass

import psycopg

from benches.contenders.place import Place
from benches.drain import await_connection, rows_wrong
from benches.load import Client, backlog
from benches.process import start, stop
from benches.world import World

MESSAGES = 20_000
KILL_AFTER_S = 0.3
"""After the first effect in a row."""
STILL_S = 5.0
WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Loss:
    """One message a device was sent; this many devices never got theirs."""

    contender: str
    messages: int
    before_kill: int
    lost: int


def loss(world: World, template: str, contender: str, devices: int) -> Loss:
    """Send one message to each device, so that each lost message is one wrong row; kill -9 once on the way."""
    place = world.place(template, contender)
    messages = min(MESSAGES, devices)
    publisher = Client(place.port, "bench-publisher")
    publisher.publish(backlog(messages, devices))
    publisher.close()
    world.broker.freeze()
    process = start(contender, place)
    try:
        await_connection(process, place.port)
        world.broker.thaw()
        await_effect(place.database)
        time.sleep(KILL_AFTER_S)
    finally:
        world.broker.thaw()
        process.kill()
        process.wait(10)
    before = messages - rows_wrong(place.database, messages, devices)
    process = start(contender, place)
    try:
        lost = await_stillness(place, process, messages, devices)
    finally:
        stop(process)
    world.forget(place)
    return Loss(contender, messages, before, lost)


def await_effect(database: str) -> None:
    """Wait until the first message has had its effect."""
    end = time.monotonic() + WITHIN_S
    sql = "select exists (select from devices where battery_level is not null)"
    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute(sql).fetchone() != (True,) and time.monotonic() < end:
            time.sleep(0.01)


def await_stillness(place: Place, process: subprocess.Popen, messages: int, devices: int) -> int:
    """Wait until nothing is wrong or nothing has changed for a while; return how many rows are wrong."""
    await_connection(process, place.port, WITHIN_S)
    wrong, since = rows_wrong(place.database, messages, devices), time.monotonic()
    end = since + WITHIN_S
    while wrong and time.monotonic() < min(end, since + STILL_S):
        time.sleep(0.5)
        now = rows_wrong(place.database, messages, devices)
        if now != wrong:
            wrong, since = now, time.monotonic()
    return wrong
