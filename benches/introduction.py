"""Let Rollcall meet a fleet: one message of each device, before anything is measured."""

import time

import psycopg

from benches.contenders.place import Place
from benches.load import STEADY, Client
from benches.process import start, stop

WITHIN_S = 300.0
SQL = f"select count(*) from devices where battery_level = {STEADY[0]}"


def introduce(place: Place, devices: int) -> None:
    """Publish one message a device and wait until Rollcall has written all of them."""
    publisher = Client(place.port, "bench-publisher")
    stamp = time.time_ns() // 1_000 - 3_600_000_000
    body = b'{"battery":%d,"rssi":%d,"ts":%d}' % (*STEADY, stamp)
    publisher.publish((f"devices/d{n}/telemetry", body) for n in range(devices))
    publisher.close()
    process = start("rollcall", place)
    end = time.monotonic() + WITHIN_S
    try:
        with psycopg.connect(place.database, autocommit=True) as connection:
            while connection.execute(SQL).fetchone() != (devices,):
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError("Rollcall did not meet the fleet")
                time.sleep(0.1)
    finally:
        stop(process)
