"""Waits with a deadline each, and one timer for all of them."""

import asyncio

import pytest

from ingest.webhooks.deadlines import Deadlines


async def ended(deadlines: Deadlines, within_s: float, order: list[str], name: str) -> None:
    """Wait for what never comes."""
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        await deadlines.wait(loop.create_future(), loop.time() + within_s)
    order.append(name)


async def test_a_wait_that_is_over_in_time_is_not_ended_later() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    future = loop.create_future()
    waiting = asyncio.create_task(deadlines.wait(future, loop.time() + 0.05))
    await asyncio.sleep(0)
    future.set_result(None)
    await waiting
    async with asyncio.timeout(5):
        await ended(deadlines, 0.1, [], "another")


async def test_each_wait_ends_when_it_is_due_also_where_a_later_one_came_first() -> None:
    deadlines, order = Deadlines(), list[str]()
    dues = {"third": 0.3, "first": 0.1, "fourth": 0.4, "second": 0.2}
    async with asyncio.timeout(5):
        await asyncio.gather(*(ended(deadlines, due, order, name) for name, due in dues.items()))
    assert order == ["first", "second", "third", "fourth"]


async def test_a_wait_that_is_cancelled_leaves_the_others_their_deadlines() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    cancelled = asyncio.create_task(deadlines.wait(loop.create_future(), loop.time() + 0.05))
    other = asyncio.create_task(ended(deadlines, 0.1, [], "other"))
    await asyncio.sleep(0)
    cancelled.cancel()
    async with asyncio.timeout(5):
        await other
    assert cancelled.cancelled()
