"""Growth: the cost of a message while the fleet grows from 1,000 to 1,000,000 devices in one table.

No device is twice in a batch, so nothing is coalesced away, and a device's neighbour in the table is not its neighbour
in time. Measured after a lap in which each device was heard once: what each costs once (the page in Postgres' memory,
its image in the WAL after a checkpoint, the name in ours) is not what a message costs.
"""

from dataclasses import dataclass

import psycopg

from benches.drain import Drained, drain
from benches.world import World

FLEETS = (1_000, 10_000, 100_000, 1_000_000)
STRIDE = 7_919
"""Between the devices of two messages that follow each other; a prime, so it shares no factor with a fleet."""
PORTION = 500
"""Messages that Rollcall decodes before it looks whether a batch is full: a batch may have as many more."""
BATCHES = (500, 4_000)
"""ROLLCALL_MAX_BATCH; a fleet is measured where a batch has no device twice."""
INTRODUCED = 1_000
"""Devices that Rollcall has met; the others are made as it left these."""
MORE = """
insert into devices (organization_id, integration_id, external_device_id, name, device_type, status, last_seen,
        last_seen_online, battery_level, signal_strength)
    select organization_id, integration_id, 'd' || n, 'd' || n, device_type, status, last_seen,
        last_seen_online, battery_level, signal_strength
    from devices, generate_series(%(introduced)s, %(devices)s - 1) as n where external_device_id = 'd0';
insert into rollcall.device_identity (integration_id, external_device_id, device_id)
    select integration_id, external_device_id, id from devices on conflict do nothing;
insert into rollcall.device_state (device_id, online_at, alive_from, battery_at, signal_at)
    select d.id, s.online_at, s.alive_from, s.battery_at, s.signal_at
    from devices d, rollcall.device_state s
    where s.device_id = (select id from devices where external_device_id = 'd0') on conflict do nothing;
"""

MET = """
alter table devices set (fillfactor = 90);
alter table rollcall.device_state set (fillfactor = 90);
"""
"""What docs/database.md advises for a fleet that has been met: full pages are cleaned when a tenth is free."""


@dataclass(frozen=True, slots=True)
class Grown:
    """One fleet drained with one size of batch."""

    max_batch: int
    drained: Drained

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a message, of Rollcall and of Postgres."""
        return self.drained.cpu_us + self.drained.postgres_cpu_us


def growth(world: World, messages: int, fleets: tuple[int, ...] = FLEETS) -> list[Grown]:
    """Drain the same number of messages with each fleet, smaller batches first."""
    found = []
    for devices in fleets:
        made = template(world, devices)
        for max_batch in BATCHES:
            if devices < max_batch + PORTION:
                continue
            settings = {"ROLLCALL_MAX_BATCH": str(max_batch)}
            drained = drain(world, made, "rollcall", messages, devices, settings, STRIDE, lap=devices)
            found.append(Grown(max_batch, drained))
            print(found[-1], flush=True)
    return sorted(found, key=lambda one: (one.max_batch, one.drained.devices))


def template(world: World, devices: int) -> str:
    """Make the template database of a fleet of which Rollcall has met a part and the rest looks the same."""
    name = f"grown_{devices}"
    if world.postgres.psql(f"select 1 from pg_database where datname = '{name}'"):
        return name
    world.postgres.psql(f"create database {name} template {world.known(min(INTRODUCED, devices))}")
    dsn = world.postgres.dsn(name)
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(MORE, {"introduced": INTRODUCED, "devices": devices})
        connection.execute("vacuum analyze")
        connection.execute(MET)
    return name


def as_lines(found: list[Grown]) -> list[str]:
    """Return the table in Markdown, each row beside the one of 10,000 devices and the same batches."""
    base = {one.max_batch: one for one in found if one.drained.devices == 10_000}
    lines = [
        "| batch | devices | messages | msg/s | us/msg | CPU us/msg | Postgres us/msg | time to 10,000 | CPU to 10,000"
        " | peak MiB | rows wrong |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        drained, beside = one.drained, base.get(one.max_batch)
        to_time = f"{beside.drained.per_second / drained.per_second:.2f}" if beside else "-"
        to_cpu = f"{one.cpu_us / beside.cpu_us:.2f}" if beside else "-"
        lines.append(
            f"| {one.max_batch:,} | {drained.devices:,} | {drained.messages:,} | {drained.per_second:,.0f}"
            f" | {1e6 / drained.per_second:.1f} | {drained.cpu_us:.1f} | {drained.postgres_cpu_us:.1f} | {to_time}"
            f" | {to_cpu} | {drained.peak_mib:.0f} | {drained.rows_wrong} |"
        )
    return lines
