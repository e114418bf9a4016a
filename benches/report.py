"""The tables, as text and as JSON."""

import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benches.drain import Drained
from benches.flood import Flooded
from benches.latency import Latency
from benches.loss import Loss
from benches.webhooks import Posted
from benches.world import World
from tests.servers.mosquitto import binary

PACKAGES = ("mqtt5", "asyncpg", "orjson", "aiomqtt", "paho-mqtt", "psycopg")


def machine(world: World) -> dict[str, Any]:
    """Say when, on what and with which versions."""
    mosquitto = subprocess.run([binary("mosquitto"), "-h"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "postgres": world.postgres.psql("show server_version"),
        "mosquitto": mosquitto.stdout.split("\n")[0].removeprefix("mosquitto version "),
        **{name: version(name) for name in PACKAGES},
    }


def as_dict(
    about: dict[str, Any],
    drains: list[Drained],
    losses: list[Loss],
    latencies: list[Latency],
    posted: list[Posted],
    flooded: list[Flooded],
) -> dict[str, Any]:
    """Return all of it, each drain with its ratios."""
    return {
        "about": about,
        "drain": [{**asdict(one), **ratios(one, drains)} for one in drains],
        "loss": [asdict(one) for one in losses],
        "latency": [asdict(one) for one in latencies],
        "webhooks": [asdict(one) for one in posted],
        "flood": [asdict(one) for one in flooded],
    }


def ratios(one: Drained, drains: list[Drained]) -> dict[str, float | None]:
    """Compare with the naive and the ceiling of the same fleet in the same run."""
    beside = {other.contender: other for other in drains if other.devices == one.devices}
    found: dict[str, float | None] = {
        f"to_{name}": round(one.per_second / beside[name].per_second, 3) if name in beside else None
        for name in ("naive", "ceiling")
    }
    ceiling = beside.get("ceiling")
    found["written_to_ceiling"] = (
        round(ceiling.written_s / one.written_s * one.messages / ceiling.messages, 3) if ceiling else None
    )
    return found


def as_text(result: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in result["about"].items())
    lines = [about]
    if result["drain"]:
        lines += ["", *_drains(result["drain"])]
    if result["loss"]:
        lines += ["", *_losses(result["loss"])]
    if result["latency"]:
        lines += ["", *_latencies(result["latency"])]
    if result["webhooks"]:
        lines += ["", *_webhooks(result["webhooks"])]
    if result["flood"]:
        lines += ["", *_floods(result["flood"])]
    return "\n".join(lines)


def _drains(drains: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| devices | contender | messages | msg/s | to naive | to ceiling | until written | CPU us/msg"
        " | Postgres us/msg | peak MiB | rows wrong |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in drains:
        keys = ("to_naive", "to_ceiling", "written_to_ceiling")
        naive, ceiling, written = (f"{one[key]:.2f}" if one[key] else "-" for key in keys)
        lines.append(
            f"| {one['devices']:,} | {one['contender']} | {one['messages']:,} | {one['per_second']:,.0f} | {naive}"
            f" | {ceiling} | {written} | {one['cpu_us']:.1f} | {one['postgres_cpu_us']:.1f} | {one['peak_mib']:.0f}"
            f" | {one['rows_wrong']} |"
        )
    return lines


def _losses(losses: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| killed once on the way | messages, one a device | in the rows at the kill | still at the broker | lost |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['contender']} | {one['messages']:,} | {one['before_kill']:,} | {one['waiting']:,}"
        f" | {one['lost']:,} |"
        for one in losses
    ]
    return lines


def _latencies(latencies: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| live load, msg/s | achieved | devices | probes | p50 ms | p99 ms |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['rate']:,} | {one['achieved']:,.0f} | {one['devices']:,} | {one['probes']}"
        f" | {one['p50_ms']:.1f} | {one['p99_ms']:.1f} |"
        for one in latencies
    ]
    return lines


def _webhooks(posted: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| webhooks | devices | connections | events a body | events/s | p50 ms | p99 ms | CPU us/event"
        " | Postgres us/event |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['contender']} | {one['devices']:,} | {one['connections']} | {one['events_a_body']}"
        f" | {one['per_second']:,.0f} | {one['p50_ms']:.1f} | {one['p99_ms']:.1f} | {one['cpu_us']:.1f}"
        f" | {one['postgres_cpu_us']:.1f} |"
        for one in posted
    ]
    return lines


def _floods(floods: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| beside 1,000 msg/s of known devices | seconds | probes | p50 ms | p99 ms | created | parked | dead letters"
        " | database MiB | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['beside']} | {one['seconds']:.0f} | {one['probes']} | {one['p50_ms']:.1f} | {one['p99_ms']:.1f}"
        f" | {one['created']:,} | {one['parked']:,} | {one['dead_letters']} | {one['database_mib']}"
        f" | {one['peak_mib']:.0f} |"
        for one in floods
    ]
    return lines
