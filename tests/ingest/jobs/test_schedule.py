"""One of all replicas has the turn; an orderly stop hands it over at once, a death after the term."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ingest.errors import DatabaseAway
from ingest.jobs.schedule import LeasedSchedule
from ingest.store.commit.sessions import Sessions
from tests.waiting import until

HOLDER = "select holder from rollcall.leases where name = 'work'"


class Worker:
    """A replica that counts its turns."""

    def __init__(self, pool: asyncpg.Pool, holder: str, ttl_s: float = 3_600) -> None:
        self.schedule = 0
        self.fails: Exception | None = None
        self._schedule = LeasedSchedule(Sessions(pool), "work", holder, random.Random(1), 0.02, ttl_s)

    async def run(self) -> None:
        await self._schedule.run(self._work)

    async def _work(self) -> None:
        self.schedule += 1
        if self.fails is not None:
            raise self.fails


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def has_turns(worker: Worker, more: int = 3) -> None:
    before = worker.schedule
    await until(lambda: worker.schedule >= before + more, 5, "it has its turns")


async def test_only_one_replica_has_the_turn_and_a_stop_hands_it_over(pool: asyncpg.Pool) -> None:
    first, second = Worker(pool, "first"), Worker(pool, "second")
    async with working(first):
        await has_turns(first)
        async with working(second):
            await has_turns(first, 10)
            assert second.schedule == 0
    assert await pool.fetchval(HOLDER) is None
    async with working(second):
        await has_turns(second)


async def test_who_has_died_loses_the_turn_after_the_term(pool: asyncpg.Pool) -> None:
    assert await Sessions(pool).lease("work", "the dead", 0.5)
    heir = Worker(pool, "heir")
    async with working(heir):
        assert await pool.fetchval(HOLDER) == "the dead"
        await has_turns(heir)


async def test_a_turn_without_the_database_is_skipped_and_the_next_one_is_not(
    pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(pool, "one")
    worker.fails = DatabaseAway("gone for a walk")
    async with working(worker):
        await has_turns(worker)
    assert "work is skipped this time: gone for a walk" in caplog.text


async def test_an_error_that_nobody_expected_is_not_hidden_and_the_turn_is_given_back(
    pool: asyncpg.Pool,
) -> None:
    worker = Worker(pool, "one")
    worker.fails = KeyError("x")
    async with working(worker) as task:
        with pytest.raises(KeyError):
            await task
    assert await pool.fetchval(HOLDER) is None
