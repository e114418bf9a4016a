"""`rollcall simulate`: publish as a fleet of devices to any broker."""

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import Misconfigured

if TYPE_CHECKING:
    from ingest.simulate.fleet import Fleet


def simulate(
    devices: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 50,
    rate: Annotated[float, typer.Option(min=0.01, max=100_000, help="Messages a second, all together.")] = 20,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Cut, late, doubled and garbled much more often.")
    ] = False,
    host: str = "127.0.0.1",
    port: int = 1883,
    username: str | None = None,
    password: Annotated[str | None, typer.Option(envvar="ROLLCALL_SIMULATE_PASSWORD")] = None,
    for_s: Annotated[float | None, typer.Option("--for", help="Seconds; without it until Ctrl-C.")] = None,
) -> None:
    """Publish as a fleet of devices: 50 with a will of their own, the rest over shared connections."""
    fleet_type = fleet_class()

    async def run() -> None:
        fleet = fleet_type(
            host, port, count=devices, rate=rate, chaos=chaos, username=username, password=password
        )
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _until(stop, for_s, fleet)

    asyncio.run(run())


async def _until(stop: asyncio.Event, for_s: float | None, fleet: "Fleet") -> None:
    task = asyncio.create_task(fleet.run())
    began = time.monotonic()
    try:
        while not stop.is_set() and not task.done() and time.monotonic() - began < (for_s or float("inf")):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)
            print(f"{time.monotonic() - began:6.0f} s  {fleet.published} published", flush=True)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def fleet_class() -> "type[Fleet]":
    """Return Fleet. Raises: Misconfigured when its extra is not installed."""
    try:
        from ingest.simulate.fleet import Fleet
    except ModuleNotFoundError as error:
        raise Misconfigured(f"{error.name} is not installed: pip install 'rollcall[local]'") from None
    return Fleet
