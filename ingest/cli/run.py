"""`rollcall run`: serve until a signal stops the process."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import Annotated

import typer

from ingest.cli.options import DatabaseUrl
from ingest.log import OneLine
from ingest.settings import Settings, load_settings

SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_WITHIN_S = 9.0
"""Stopping takes 7 s at most where all goes well, and who stops containers waits for 10."""
log = logging.getLogger(__name__)

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
    # they log URLs and signed headers: those of Amazon's handshakes, and of its API, hold tokens
    for client in ("httpx", "httpcore", "botocore", "aiobotocore"):
        logging.getLogger(client).setLevel(logging.WARNING)
    _spare_the_collector()
    asyncio.run(_run(settings, migrate_first=migrate))


def _spare_the_collector() -> None:
    """Let the cycle collector look rarely: messages hold no cycles, and it cost a third of the time of a drain."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@contextlib.contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at SIGTERM or SIGINT, and end the process END_WITHIN_S later, or at the next one, whatever hangs.

    A thread waits for the signals, so that nothing in the event loop or in another thread keeps them from being heard.
    """
    loop, again = asyncio.get_running_loop(), threading.Event()

    def wait() -> None:
        signal.sigwait(SIGNALS)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)
        threading.Thread(target=wait_again, daemon=True, name="signals").start()
        again.wait(END_WITHIN_S)
        log.warning("stopping took longer than %g s, or was asked for twice: ended at once", END_WITHIN_S)
        os._exit(0)

    def wait_again() -> None:
        signal.sigwait(SIGNALS)
        again.set()

    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=wait, daemon=True, name="signals").start()
    yield


async def _run(settings: Settings, *, migrate_first: bool) -> None:
    from ingest.app import serve
    from ingest.migrate.platform import check_start

    if migrate_first:
        from ingest.migrate import migrate

        await migrate(settings.direct_url)
    await check_start(settings.database_url, settings.direct_url)
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        await serve(settings, stop)
