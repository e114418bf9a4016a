"""Indexes: the cost of the platform's own, and the share of it that presence_resolution_s gives back."""

from dataclasses import dataclass
from itertools import product

from benches.drain import Drained, drain
from benches.world import World

PLATFORM = """
create index bench_devices_status on devices (status);
create index bench_devices_last_seen on devices (last_seen);
"""
RESOLUTIONS_S = (0, 60)


@dataclass(frozen=True, slots=True)
class Indexed:
    """One drain with or without the indexes. `steady`: each message says what its device said before."""

    indexes: str
    steady: bool
    resolution_s: int
    drained: Drained


def indexes(world: World, messages: int, devices: int) -> list[Indexed]:
    """Drain the same messages without the indexes and with them, at each resolution."""
    found = []
    for name, template in (("none", world.known(devices)), ("status, last_seen", _indexed(world, devices))):
        for steady, resolution_s in product((False, True), RESOLUTIONS_S):
            settings = {"ROLLCALL_PRESENCE_RESOLUTION_S": str(resolution_s)}
            drained = drain(world, template, "rollcall", messages, devices, settings, steady=steady)
            found.append(Indexed(name, steady, resolution_s, drained))
            print(found[-1], flush=True)
    return found


def _indexed(world: World, devices: int) -> str:
    """Make the template database of a known fleet on a platform with its own indexes."""
    name = f"indexed_{devices}"
    world.postgres.psql(f"create database {name} template {world.known(devices)}")
    world.postgres.psql(PLATFORM, name)
    world.postgres.psql("vacuum analyze", name)
    return name


def as_lines(found: list[Indexed]) -> list[str]:
    """Return the table in Markdown, each row beside the one at resolution 0."""
    lines = [
        "| indexes of the platform | values | presence_resolution_s | devices | messages | msg/s | to 0 s | CPU us/msg"
        " | Postgres us/msg | rows wrong |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    at_0 = {
        (one.indexes, one.steady): one.drained.per_second
        for one in found
        if one.resolution_s == RESOLUTIONS_S[0]
    }
    for one in found:
        drained, values = one.drained, "as before" if one.steady else "new"
        lines.append(
            f"| {one.indexes} | {values} | {one.resolution_s} | {drained.devices:,} | {drained.messages:,}"
            f" | {drained.per_second:,.0f} | {drained.per_second / at_0[one.indexes, one.steady]:.2f}"
            f" | {drained.cpu_us:.1f} | {drained.postgres_cpu_us:.1f} | {drained.rows_wrong} |"
        )
    return lines
