"""Reconcile a fleet that the fake Golioth lists, beside the time that only reading its pages takes.

The cloud, the reader and each run are processes of their own: `python -m benches.reconcile cloud | drain | run`.
"""

import asyncio
import random
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from ingest.app import open_pool
from ingest.clock import StrictClock
from ingest.crypto import Keyring
from ingest.migrate.runner import migrate
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
from ingest.reconcile.reconciler import Reconciler
from ingest.settings import load_settings
from tests.servers.golioth import Golioth, MadeFleet
from tests.servers.postgres import PostgresServer

API_KEY = "bench"
INTEGRATION = UUID("00000000-0000-4000-8000-000000000002")
POLICY = {"unknown_devices": {"policy": "create", "max_per_minute": 10_000_000, "max_total": 10_000_000}}
CHECKED_PAGES = 100
"""One page in so many is checked against the contract: checking all of them would take longer than the rest."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One run. `beyond_s` is what it took longer than reading the pages alone; `start_mib` what its process needs."""

    run: str
    devices: int
    drain_s: float
    seconds: float
    beyond_s: float
    per_second: float
    start_mib: float
    peak_mib: float
    changed: int


def reconcile_all(devices: int) -> list[Reconciled]:
    """Reconcile the fleet with an empty database, with nothing changed, and with every device seen again."""
    postgres = PostgresServer(durable=True)
    cloud = subprocess.Popen(
        [*_me("cloud"), str(devices)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        postgres.start()
        assert cloud.stdout is not None
        assert cloud.stdin is not None
        url = cloud.stdout.readline().strip()
        asyncio.run(_seed(postgres.dsn(), url))
        drain = _call("drain", url)
        assert drain["devices"] == devices
        found = []
        for name in ("first", "nothing changed", "all seen again"):
            if name == "all seen again":
                cloud.stdin.write("seen\n")
                cloud.stdin.flush()
                assert cloud.stdout.readline() == "seen\n"
            run = _call("run", postgres.dsn())
            assert (run["status"], run["listed"]) == ("done", devices), run
            beyond_s = max(0.001, run["seconds"] - drain["seconds"])
            written = run["created"] + run["changed"]
            times = drain["seconds"], run["seconds"], beyond_s, devices / beyond_s
            found.append(Reconciled(name, devices, *times, run["start_mib"], run["peak_mib"], written))
            postgres.psql("vacuum analyze")
        return found
    finally:
        cloud.kill()
        cloud.wait(10)
        postgres.destroy()


def as_lines(runs: list[Reconciled]) -> list[str]:
    """Return the table in Markdown."""
    lines = [
        "| reconciliation | devices | pages alone s | all s | beyond s | devices/s beyond | written"
        " | MiB at the start | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.run} | {one.devices:,} | {one.drain_s:.1f} | {one.seconds:.1f} | {one.beyond_s:.1f}"
        f" | {one.per_second:,.0f} | {one.changed:,} | {one.start_mib:.0f} | {one.peak_mib:.0f} |"
        for one in runs
    ]
    return lines


def _me(*words: str) -> list[str]:
    return [sys.executable, "-m", "benches.reconcile", *words]


def _call(*words: str) -> dict[str, Any]:
    done = subprocess.run(_me(*words), stdout=subprocess.PIPE, check=True, timeout=600)
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


async def _seed(database: str, url: str) -> None:
    await migrate(database)
    connection = await asyncpg.connect(database)
    organization = await connection.fetchval(
        "insert into organizations (name, slug) values ('b', 'b') returning id"
    )
    await connection.execute(
        "insert into device_integrations (id, organization_id, integration_type, name, project_id, base_url,"
        " api_key_encrypted, settings) values ($1, $2, 'golioth', 'bench', 'fleet', $3, $4, $5)",
        INTEGRATION,
        organization,
        url,
        API_KEY,
        orjson.dumps(POLICY).decode(),
    )
    await connection.close()


async def _cloud(devices: int) -> None:
    cloud = Golioth(API_KEY, check_every=CHECKED_PAGES)
    cloud.devices = MadeFleet(devices)
    async with cloud.http:
        print(cloud.http.url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        cloud.devices = MadeFleet(devices, seen_s=600)
        print("seen", flush=True)
        await asyncio.Event().wait()


async def _drain(url: str) -> dict[str, Any]:
    provider = create_provider(ProviderSettings("golioth", "fleet", url, API_KEY))
    began, devices = time.monotonic(), 0
    async for page in provider.list_devices():
        devices += len(page.devices)
    seconds = time.monotonic() - began
    await provider.aclose()
    return {"devices": devices, "seconds": seconds}


async def _run(database: str) -> dict[str, Any]:
    settings = load_settings(database_url=database)
    async with await open_pool(settings) as pool:
        reconciler = Reconciler(pool, settings, Keyring({}), StrictClock(), "bench", random.Random())
        start_mib, began = _peak_mib(), time.monotonic()
        run = (await reconciler.reconcile(INTEGRATION)).run
        seconds = time.monotonic() - began
    told = {"status": run.status, **run.counts, "errors": run.errors}
    return {**told, "seconds": seconds, "start_mib": start_mib, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Be one of the processes."""
    what, argument = sys.argv[1:]
    if what == "cloud":
        asyncio.run(_cloud(int(argument)))
        return
    found = asyncio.run(_drain(argument) if what == "drain" else _run(argument))
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    main()
