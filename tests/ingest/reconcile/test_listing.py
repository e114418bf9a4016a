"""Listed devices as observations: the pure part, and that they converge with events in any order."""

import asyncio
from random import Random
from typing import Any

import asyncpg
import orjson
from hypothesis import given
from hypothesis import strategies as st

from handlers import facts
from handlers.events import SECOND, Micros, Observation
from ingest.providers.port import Installed, ListedDevice, Page
from ingest.reconcile.listing import Dating, digest_of, evidence_of, from_json, observations, to_json
from ingest.reconcile.pages import AskedPage
from ingest.reconcile.plan import Plan
from ingest.reconcile.runs import Runs
from ingest.reconcile.staging import Staging
from ingest.reconcile.unchanged import UnchangedEntries
from ingest.store.commit.creation import UnknownPolicy
from tests.ingest.store.world import World, model
from tests.strategies import INTEGRATION, OFFLINE_AFTER, START, arrivals, times

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


def test_the_digest_of_an_entry_is_about_its_facts_and_nothing_without_their_time() -> None:
    device = ListedDevice("d", cohort_id="c")
    assert digest_of(device) is None
    dated = device._replace(updated_at=START)
    assert digest_of(dated) is not None
    assert digest_of(dated) == digest_of(dated._replace(online_at=NOW, battery_level=3))
    for change in (
        {"cohort_id": "e"},
        {"updated_at": NOW},
        {"metadata": {"a": 1}},
        {"tags": ("t",)},
        {"name": "n"},
    ):
        assert digest_of(dated) != digest_of(dated._replace(**change))


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


def listed(device: ListedDevice, at: Micros, sound: bool) -> tuple[ListedDevice, Micros]:
    """An entry whose facts have a time, and when it was listed: where it is `sound`, after all of its times."""
    device = device._replace(updated_at=START)
    given = device.online_at, device.offline_at, device.battery_at, device.signal_at
    newest = max(at, *(one or 0 for one in given), *(one.at or 0 for one in device.firmware))
    return device, newest if sound else at


async def staged(world: World, device: ListedDevice, listed_at: Micros) -> bool:
    """List the device as one whose facts were applied before; return whether no decoding was needed."""
    plan = Plan(INTEGRATION, "m", UnknownPolicy(), OFFLINE_AFTER, DATING, False, 0)
    runs = Runs(world.pool, "here")
    await world.pool.execute(
        "insert into rollcall.device_identity (integration_id, external_device_id, device_id, listed_digest)"
        " select $1, 'd', d.id, rollcall.listed_digest(d, $2) from devices d on conflict"
        " (integration_id, external_device_id) do update set listed_digest = excluded.listed_digest",
        INTEGRATION,
        digest_of(device),
    )
    run = await runs.begin(INTEGRATION, "demand", dry_run=False, anew=True)
    await Staging(world.pool, runs).add(run, [AskedPage(Page((device,), None), listed_at)], DATING)
    unchanged = UnchangedEntries(world.pool, runs, plan, Random(1))
    done = await unchanged.apply(run, await unchanged.windows(run))
    await runs.finish(run, "done")
    return done == 1


def test_entries_that_are_applied_without_being_decoded_give_the_same_rows(database: str) -> None:
    with asyncio.Runner() as runner:

        async def opened() -> World:
            return World(await asyncpg.create_pool(database, min_size=1, max_size=2))

        world, unchanged = runner.run(opened()), 0

        async def check(arrival: Any, listed: list[tuple[ListedDevice, Micros]]) -> None:
            nonlocal unchanged
            seen, batches = arrival
            await world.reset()
            said = list(seen)
            for turn in range(max(len(batches), len(listed))):
                for batch in batches[turn : turn + 1]:
                    await world.apply(batch)
                for device, listed_at in listed[turn : turn + 1]:
                    if await staged(world, device, listed_at):
                        unchanged += 1
                        told = observations(INTEGRATION, device, listed_at, DATING)
                        said += [one._replace(facts=None, seen_at=one.at) for one in told]
            assert await world.rows() == model(said)

        entries = st.builds(
            listed, listed_devices, times.map(lambda at: at + 400 * SECOND), st.integers(0, 4).map(bool)
        )
        try:

            @given(arrivals(), st.lists(entries, min_size=1, max_size=3))
            def holds(arrival: Any, listed: Any) -> None:
                runner.run(check(arrival, listed))

            holds()
            assert unchanged > 50
        finally:
            runner.run(world.pool.close())


def newest(seen: list[Observation], field: str) -> Any:
    """The newest word of the listings on a field; ties by its JSON text."""
    told = [
        (one.at, text) for one in seen if one.facts for name, text in facts.told(one.facts) if name == field
    ]
    return orjson.loads(max(told)[1]) if told else None
