"""`rollcall up`: Postgres, a broker, the service and a simulated fleet on this machine, with nothing to install."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli.simulate import fleet_class


def up(
    data: Annotated[
        Path, typer.Option(help="Where everything is kept; a second run goes on with it.")
    ] = Path(".rollcall"),
    devices: Annotated[int, typer.Option(min=0, max=1_000_000, help="Simulated devices.")] = 50,
    rate: Annotated[float, typer.Option(min=0.01, max=100_000, help="Messages a second, all together.")] = 20,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Cut, late, doubled and garbled much more often.")
    ] = False,
    for_s: Annotated[float | None, typer.Option("--for", help="Seconds; without it until Ctrl-C.")] = None,
) -> None:
    """Start Postgres, a broker, Rollcall and a simulated fleet, and watch. Ctrl-C stops all of it; the data stays."""
    fleet_class()
    asyncio.run(_up(data.resolve(), devices, rate, for_s, chaos=chaos))


async def _up(data: Path, devices: int, rate: float, for_s: float | None, *, chaos: bool) -> None:
    from ingest.local.stack import stack

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stack(data, message_every_s=devices / rate) as running:
        fleet = fleet_class()("127.0.0.1", running.broker.port, count=devices, rate=rate, chaos=chaos)
        from ingest.cli.dashboard import Dashboard

        dashboard = Dashboard(running, fleet)
        dashboard.introduce()
        parts = [running.service.keep_running(), dashboard.run(), *([fleet.run()] if devices else [])]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await _first_of(stop, for_s, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            print("stopping ...", flush=True)
    print(f"stopped; everything is kept in {data}", flush=True)


async def _first_of(stop: asyncio.Event, for_s: float | None, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the stop, the end of the time or of a task, whose exception is raised."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, *tasks}, timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        for task in done:
            task.result()
