"""Rows that are followed: read again at every change, and now and then in case a change was not told."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from ingest.errors import RollcallError
from ingest.store.config.integrations import ChangeSignal, IntegrationRows

log = logging.getLogger(__name__)

REREAD_S = 60.0


async def watch(
    rows: IntegrationRows,
    read: Callable[[], Awaitable[None]],
    jitter: random.Random,
    reread_s: float = REREAD_S,
) -> None:
    """Call `read` at every news of the rows, and every `reread_s` as the net under them, for ever."""
    while True:
        try:
            async with rows.news() as news:
                await _follow_while_listening(news, read, reread_s)
        except RollcallError as error:
            log.warning("the integrations cannot be read: %s", error)
        await asyncio.sleep(jitter.uniform(0.1, 1.0))


async def _follow_while_listening(
    news: ChangeSignal, read: Callable[[], Awaitable[None]], reread_s: float
) -> None:
    while not news.is_broken():
        news.changed.clear()
        await read()
        with contextlib.suppress(TimeoutError):
            # not wait_for, which in Python 3.11 may swallow the cancellation that ends this
            async with asyncio.timeout(reread_s):
                await news.changed.wait()
