"""`rollcall run`: the service."""

import asyncio
import gc
import logging
import signal
from typing import Annotated

import typer

from ingest.cli.options import DatabaseUrl
from ingest.log import OneLine
from ingest.settings import Settings, load_settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(
    database_url: DatabaseUrl = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    migrate: Annotated[bool, typer.Option("--migrate", help="Migrate the database first.")] = False,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Exit codes: 0 stopped, 1 misconfigured (a person must change something), 3 unavailable.
    """
    settings = load_settings(database_url=database_url, log_level=log_level)
    lines = logging.StreamHandler()
    lines.setFormatter(OneLine(LOG_FORMAT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[lines])
    for client in ("httpx", "httpcore"):  # they log URLs, and those of Amazon's handshakes hold tokens
        logging.getLogger(client).setLevel(logging.WARNING)
    _spare_the_collector()
    asyncio.run(_run(settings, migrate_first=migrate))


def _spare_the_collector() -> None:
    """Let the cycle collector look rarely: messages hold no cycles, and it cost a third of the time of a drain."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _run(settings: Settings, *, migrate_first: bool) -> None:
    from ingest.app import serve

    if migrate_first:
        from ingest.migrate import migrate

        await migrate(settings.direct_url)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
