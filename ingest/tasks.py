"""Structured-concurrency helpers: run a background task for the length of a block; wait for the first of several."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def first_completed(*tasks: asyncio.Task[None]) -> None:
    """Wait for the first task that ends. Raises: what it ended with."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


@contextlib.asynccontextmanager
async def background_task(coroutine: Coroutine[Any, Any, Result]) -> AsyncIterator[asyncio.Task[Result]]:
    """Run a coroutine beside the block, and cancel it at its end."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
