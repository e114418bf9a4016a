"""What the platform's own indexes cost, and what presence_resolution_s gives back."""

from dataclasses import dataclass

from benches.drain import Drained, drain
from benches.world import World

PLATFORM = """
create index bench_devices_status on devices (status);
create index bench_devices_last_seen on devices (last_seen);
"""
RESOLUTIONS_S = (0, 60)


@dataclass(frozen=True, slots=True)
class Indexed:
    """One drain with or without the indexes."""

    indexes: str
    resolution_s: int
    drained: Drained


def indexes(world: World, messages: int, devices: int) -> list[Indexed]:
    """Drain the same messages without the indexes and with them, at each resolution."""
    found = []
    for name, template in (("none", world.known(devices)), ("status, last_seen", _indexed(world, devices))):
        for resolution_s in RESOLUTIONS_S:
            settings = {"ROLLCALL_PRESENCE_RESOLUTION_S": str(resolution_s)}
            drained = drain(world, template, "rollcall", messages, devices, settings)
            found.append(Indexed(name, resolution_s, drained))
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
    """Return the table in Markdown, each row beside the one without indexes and at resolution 0."""
    lines = [
        "| indexes of the platform | presence_resolution_s | devices | messages | msg/s | to the first | CPU us/msg"
        " | Postgres us/msg | rows wrong |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = found[0].drained.per_second
    return lines + [
        f"| {one.indexes} | {one.resolution_s} | {one.drained.devices:,} | {one.drained.messages:,}"
        f" | {one.drained.per_second:,.0f} | {one.drained.per_second / first:.2f} | {one.drained.cpu_us:.1f}"
        f" | {one.drained.postgres_cpu_us:.1f} | {one.drained.rows_wrong} |"
        for one in found
    ]
