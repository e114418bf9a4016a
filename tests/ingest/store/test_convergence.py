"""The heart: rows are a function of the set of observations, and the SQL agrees with the pure rules."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import SECOND, Observation
from tests.ingest.store.world import Transition, World, model
from tests.strategies import START, arrivals, nothing_else
from tests.streams import of_streams

Arrival = tuple[list[Observation], list[list[Observation]]]
Heard = tuple[int | None, int | None]
HEARD: st.SearchStrategy[Heard] = st.tuples(
    st.one_of(st.none(), st.integers(0, 50).map(lambda n: START + n * 300 * SECOND + 1)),
    st.one_of(st.none(), st.integers(-2, 45).map(lambda n: START + n * 300 * SECOND)),
)
"""heard_until and heard_since: also of a session that began after most of the evidence."""


def test_any_order_doubling_and_batching_gives_the_rows_of_the_pure_rules(database: str) -> None:
    _for_all(database, _batch_after_batch, arrivals())


def test_two_writers_at_once_give_the_rows_of_one(database: str) -> None:
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
    async def check(world: World, arrival: Arrival, heard: Heard, swept: list[bool]) -> None:
        seen, batches = arrival
        await world.reset(*heard)
        for batch, sweep in zip(batches, swept, strict=False):
            if sweep:
                await world.sweep()
            await world.apply(batch)
        for batch in batches[len(swept) :]:
            await world.apply(batch)
        await world.sweep()
        assert await world.rows() == model(seen, *heard)
        assert_replayed(await world.timeline(), await world.rows(), model(seen, *heard))

    _for_all(
        database, check, arrivals(of_streams() | nothing_else), HEARD, st.lists(st.booleans(), max_size=5)
    )


def test_ordered_connection_events_among_telemetry_give_the_rows_of_the_pure_rules(database: str) -> None:
    _for_all(database, _batch_after_batch, arrivals(of_streams()))


async def _batch_after_batch(world: World, arrival: Arrival) -> None:
    seen, batches = arrival
    await world.reset()
    for batch in batches:
        await world.apply(batch)
    assert await world.rows() == model(seen)
    assert_replayed(await world.timeline(), await world.rows(), model(seen))


def assert_replayed(timeline: list[Transition], rows: dict[str, Any], expected: dict[str, Any]) -> None:
    """The rows that are not retracted, in the order of their times, give the status and last_seen_offline."""
    kinds = [kind for _, kind, _, _ in timeline]
    if kinds or rows["status"] == "online":
        assert kinds[-1:] == [rows["status"]], timeline
    goings = [last for _, kind, last, snapshot in timeline if kind == "offline" and not snapshot]
    assert (goings[-1] if goings else None) == expected["last_seen_offline"], timeline
    comings = [at for at, kind, _, _ in timeline if kind == "online"]
    if comings and rows["last_seen_online"] is not None:
        assert comings[-1] <= rows["last_seen_online"], timeline


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
