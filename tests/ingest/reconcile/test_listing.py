"""Listed devices as observations: the pure part, and that they converge with events in any order."""

import asyncio
from typing import Any

import asyncpg
import orjson
from hypothesis import given
from hypothesis import strategies as st

from handlers import facts
from handlers.events import SECOND, Observation
from handlers.evidence import Evidence
from ingest.providers.port import Installed, ListedDevice
from ingest.reconcile.listing import Dating, digest_of, evidence_of, from_json, observations, to_json
from ingest.store.confirm import confirm
from tests.ingest.store.world import DEVICE, World, model
from tests.strategies import INTEGRATION, START, arrivals, times

DATING = Dating(300 * SECOND, 300 * SECOND)
NOW = START + 13_000 * SECOND
moments = st.one_of(st.none(), times)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5)
listed_devices = st.builds(
    ListedDevice,
    external_id=st.just("d"),
    name=st.none(),
    serial_number=st.none(),
    golioth_status=st.none(),
    connected=st.none(),
    connected_at=st.none(),
    problems=st.just(()),
    hardware_ids=st.lists(texts, max_size=2, unique=True).map(tuple),
    cohort_id=st.one_of(st.none(), texts),
    tags=st.lists(texts, max_size=2, unique=True).map(tuple),
    metadata=st.dictionaries(
        texts, st.one_of(texts, st.integers(0, 3), st.lists(texts, max_size=1)), max_size=2
    ),
    online_at=moments,
    offline_at=moments,
    battery_level=st.one_of(st.none(), st.integers(0, 3)),
    battery_at=moments,
    signal_strength=st.one_of(st.none(), st.integers(-3, 0)),
    signal_at=moments,
    firmware=st.lists(
        st.builds(Installed, st.sampled_from(["main", "modem"]), st.sampled_from(["v1", "v2", "é"]), moments),
        max_size=2,
        unique_by=lambda one: one.component,
    ).map(tuple),
    updated_at=moments,
)


@given(listed_devices)
def test_a_device_comes_out_of_staging_as_it_went_in(device: ListedDevice) -> None:
    assert from_json(to_json(device)) == device


def test_being_listed_is_no_evidence_of_being_online() -> None:
    evidence = evidence_of(INTEGRATION, ListedDevice("d", "name", connected=True), NOW, DATING)
    assert (evidence.online, evidence.offline_at) == ((), None)


def test_a_value_without_a_time_is_dated_the_lag_before_the_request() -> None:
    device = ListedDevice("d", battery_level=5, firmware=(Installed("main", "v1"),), cohort_id="c")
    evidence = evidence_of(INTEGRATION, device, NOW, DATING)
    at = NOW - DATING.lag
    assert evidence.battery == (at, 5)
    assert (evidence.firmware["main"].at, evidence.facts["cohort_id"][0]) == (at, at)


def test_times_of_the_providers_own_are_kept() -> None:
    device = ListedDevice(
        "d", online_at=START, battery_level=5, battery_at=START + 1, cohort_id="c", updated_at=START + 2
    )
    evidence = evidence_of(INTEGRATION, device, NOW, DATING)
    assert (evidence.online, evidence.battery) == ([(START, START)], (START + 1, 5))
    assert evidence.facts["cohort_id"] == (START + 2, '"c"')


def test_what_is_said_without_a_time_counts_also_of_an_entry_that_was_applied_before() -> None:
    device = ListedDevice("d", online_at=START, battery_level=5, signal_strength=-50, signal_at=START)
    evidence = evidence_of(INTEGRATION, device, NOW, DATING, settled=True)
    assert (evidence.battery, evidence.online, evidence.signal) == ((NOW - DATING.lag, 5), (), None)
    assert not evidence.facts


def test_an_entry_whose_facts_have_no_time_is_never_taken_for_applied() -> None:
    device = ListedDevice("d", cohort_id="c")
    assert digest_of(to_json(device), device, NOW, DATING) is None
    dated = device._replace(updated_at=START)
    assert digest_of(to_json(dated), dated, NOW, DATING) is not None
    ahead = dated._replace(online_at=NOW + DATING.max_ahead + 1)
    assert digest_of(to_json(ahead), ahead, NOW, DATING) is None


@st.composite
def listings(draw: st.DrawFn) -> list[Observation]:
    """What two listings of the device say, the second a while after the first."""
    said: list[Observation] = []
    for device in draw(st.lists(listed_devices, min_size=1, max_size=2)):
        listed_at = draw(times) + 400 * SECOND
        said += observations(INTEGRATION, device._replace(tags=(), metadata={}), listed_at, DATING)
    return said


def test_listings_and_events_in_any_order_give_the_same_rows(database: str) -> None:
    with asyncio.Runner() as runner:

        async def opened() -> World:
            return World(await asyncpg.create_pool(database, min_size=1, max_size=2))

        world = runner.run(opened())

        async def check(arrival: tuple[list[Observation], list[list[Observation]]]) -> None:
            seen, batches = arrival
            await world.reset()
            for batch in batches:
                await world.apply(batch)
            assert await world.rows() == model(seen)
            row = await world.pool.fetchrow("select cohort_id, hardware_ids from devices")
            assert row["cohort_id"] == newest(seen, "cohort_id")
            assert tuple(row["hardware_ids"] or ()) == tuple(newest(seen, "hardware_ids") or ())

        try:

            @given(arrivals(listings()))
            def holds(arrival: Any) -> None:
                runner.run(check(arrival))

            holds()
        finally:
            runner.run(world.pool.close())


def test_clocks_that_are_moved_without_an_apply_give_the_same_rows(database: str) -> None:
    """What has values only goes through `confirm` first, as an entry of a listing that was applied before does."""
    with asyncio.Runner() as runner:

        async def opened() -> World:
            return World(await asyncpg.create_pool(database, min_size=1, max_size=2))

        world, confirmed = runner.run(opened()), 0

        async def check(arrival: tuple[list[Observation], list[list[Observation]]]) -> None:
            nonlocal confirmed
            seen, batches = arrival
            await world.reset()
            again = [one._replace(presence=None, snapshot=False, readings=()) for one in seen]
            later = [one._replace(at=one.at + 70 * SECOND) for one in again]
            for batch in [*([one] for one in again[::2]), *batches, *([one] for one in later + again)]:
                evidence = Evidence()
                for observation in batch:
                    evidence.add(observation)
                async with world.pool.acquire() as connection:
                    done = await confirm(connection, [DEVICE], {DEVICE: evidence}, timeout_s=10)
                confirmed += len(done)
                if not done:
                    await world.apply(batch)
            assert await world.rows() == model(seen + later)

        try:

            @given(arrivals())
            def holds(arrival: Any) -> None:
                runner.run(check(arrival))

            holds()
            assert confirmed > 50
        finally:
            runner.run(world.pool.close())


def newest(seen: list[Observation], field: str) -> Any:
    """The newest word of the listings on a field; ties by its JSON text."""
    told = [
        (one.at, text) for one in seen if one.facts for name, text in facts.told(one.facts) if name == field
    ]
    return orjson.loads(max(told)[1]) if told else None
