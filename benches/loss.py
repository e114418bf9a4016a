"""Kill each contender while it drains, start it again, and count the rows that never say what was sent."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from benches.contenders.place import Place
from benches.drain import await_connection, devices_wrong, rows_wrong
from benches.load import STEADY, Client, backlog, expected
from benches.process import start
from benches.world import World

MESSAGES = 20_000
KILL_AFTER_S = 0.3
"""After the first effect in a row."""
STILL_S = 5.0
WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Loss:
    """One message a device was sent. `lost` never had its effect and is no longer at the broker; `waiting` is."""

    contender: str
    messages: int
    before_kill: int
    waiting: int
    lost: int


def loss(
    world: World, template: str, contender: str, devices: int, settings: Mapping[str, str] | None = None
) -> Loss:
    """Send one message to each device, so that each lost message is one wrong row; kill -9 once on the way."""
    place = world.place(template, contender)
    messages = min(MESSAGES, devices)
    wanted = expected(messages, devices)
    publisher = Client(place.port, "bench-publisher")
    publisher.publish(backlog(messages, devices))
    publisher.close()
    world.broker.freeze()
    process = start(contender, place, settings)
    try:
        await_connection(process, place.port)
        world.broker.thaw()
        await_effect(place.database)
        time.sleep(KILL_AFTER_S)
    finally:
        world.broker.thaw()
        process.kill()
        process.wait(10)
    before = messages - rows_wrong(place.database, wanted)
    process = start(contender, place, settings)
    try:
        await_stillness(place, process, wanted)
    finally:
        process.kill()
        process.wait(10)
    missing, waiting = devices_wrong(place.database, wanted), still_waiting(place)
    world.forget(place)
    return Loss(contender, messages, before, len(missing & waiting), len(missing - waiting))


def still_waiting(place: Place) -> set[str]:
    """Return the devices with a message that the broker still holds for the contender."""
    client = Client(place.port, place.client_id, keep=True)
    try:
        return {topic.split("/")[1] for topic in client.waiting()}
    finally:
        client.close()


def await_effect(database: str) -> None:
    """Wait until the first message has had its effect: a row says something else than when the fleet was introduced."""
    end = time.monotonic() + WITHIN_S
    sql = "select exists (select from devices where battery_level <> %s)"
    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute(sql, [STEADY[0]]).fetchone() != (True,):
            if time.monotonic() > end:
                raise RuntimeError("no message has had an effect")
            time.sleep(0.01)


def await_stillness(place: Place, process: subprocess.Popen, expect: Mapping[str, tuple[int, int]]) -> None:
    """Wait until nothing is wrong, or nothing has changed for a while."""
    await_connection(process, place.port, WITHIN_S)
    wrong, since = rows_wrong(place.database, expect), time.monotonic()
    end = since + WITHIN_S
    while wrong and time.monotonic() < min(end, since + STILL_S):
        time.sleep(0.5)
        now = rows_wrong(place.database, expect)
        if now != wrong:
            wrong, since = now, time.monotonic()
