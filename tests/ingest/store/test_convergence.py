"""The heart: rows are a function of the set of observations, and the SQL agrees with the pure rules."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import SECOND, Observation
from tests.ingest.store.world import World, model
from tests.strategies import START, arrivals
from tests.streams import of_streams

Arrival = tuple[list[Observation], list[list[Observation]]]
HEARD = st.one_of(st.none(), st.integers(0, 50).map(lambda n: START + n * 300 * SECOND + 1))


def test_any_order_doubling_and_batching_gives_the_rows_of_the_pure_rules(database: str) -> None:
    _for_all(database, _batch_after_batch, arrivals())


def test_two_writers_at_once_give_the_rows_of_one(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # else nearly all batches would go beside each other
    monkeypatch.setattr("ingest.store.apply.OTHERS_S", 0.0)

    async def check(world: World, arrival: Arrival) -> None:
        seen, batches = arrival
        await world.reset()

        async def write(mine: list[list[Observation]]) -> None:
            for batch in mine:
                await world.apply(batch)

        await asyncio.gather(write(batches[::2]), write(batches[1::2]))
        assert await world.rows() == model(seen)

    _for_all(database, check, arrivals())


def test_sweeps_at_any_moment_change_nothing_after_a_last_sweep(database: str) -> None:
    async def check(world: World, arrival: Arrival, heard_until: int | None, swept: list[bool]) -> None:
        seen, batches = arrival
        await world.reset(heard_until)
        for batch, sweep in zip(batches, swept, strict=False):
            if sweep:
                await world.sweep()
            await world.apply(batch)
        for batch in batches[len(swept) :]:
            await world.apply(batch)
        await world.sweep()
        assert await world.rows() == model(seen, heard_until)

    _for_all(database, check, arrivals(), HEARD, st.lists(st.booleans(), max_size=5))


def test_ordered_connection_events_among_telemetry_give_the_rows_of_the_pure_rules(database: str) -> None:
    _for_all(database, _batch_after_batch, arrivals(of_streams()))


async def _batch_after_batch(world: World, arrival: Arrival) -> None:
    seen, batches = arrival
    await world.reset()
    for batch in batches:
        await world.apply(batch)
    assert await world.rows() == model(seen)


def _for_all(
    database: str, check: Callable[..., Coroutine[Any, Any, None]], *strategies: st.SearchStrategy[Any]
) -> None:
    """Run `check` for drawn arguments in one event loop with one pool."""
    with asyncio.Runner() as runner:

        async def opened() -> World:
            return World(await asyncpg.create_pool(database, min_size=2, max_size=2))

        world = runner.run(opened())
        try:

            @given(st.tuples(*strategies))
            def holds(drawn: tuple[Any, ...]) -> None:
                runner.run(check(world, *drawn))

            holds()
        finally:
            runner.run(world.pool.close())
