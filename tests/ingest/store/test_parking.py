"""Parking by several senders, or under several keys, at once."""

import orjson
import pytest

from handlers.events import DeviceKey
from handlers.evidence import Evidence
from handlers.parked import MAX_PARKED
from ingest.store.commit.batch import Batch
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.errors import Contended
from tests.ingest.store.test_unknown_devices import OURS, ROW, Door, door

__all__ = ["door"]
POLICY = UnknownPolicy("park")


def battery(at: int, level: int) -> Evidence:
    evidence = Evidence()
    evidence.battery = at, level
    return evidence


async def parked(door: Door) -> list[tuple[str, dict[str, object], list[int]]]:
    rows = await door.pool.fetch(
        "select external_device_id, key, evidence from rollcall.parked_devices where integration_id = $1",
        OURS,
    )
    return [(row[0], orjson.loads(row[1]), orjson.loads(row[2])["battery"]) for row in rows]


async def test_the_same_unknown_id_from_two_senders_in_one_batch_is_parked_once_with_what_both_said(
    door: Door,
):
    batch = Batch()
    for one in (battery(2, 70), battery(1, 50)):
        await door.parking.add(OURS, POLICY, {DeviceKey("d1"): one}, batch)
    assert await door.applier.commit(batch) == []
    assert [(name, said) for name, _, said in await parked(door)] == [("d1", [2, 70])]


async def test_keys_that_share_an_id_share_a_row_with_all_of_their_names(door: Door):
    batch, said = Batch(), {DeviceKey("d1"): battery(1, 50), DeviceKey("d1", "S", ("h",)): battery(2, 70)}
    await door.parking.add(OURS, POLICY, said, batch)
    assert await door.applier.commit(batch) == []
    key = {"external_id": "d1", "serial_number": "S", "hardware_ids": ["h"]}
    assert await parked(door) == [("d1", key, [2, 70])]


async def test_of_two_who_park_what_one_id_said_the_later_one_takes_in_what_the_first_did(door: Door) -> None:
    first, second = Batch(), Batch()
    await door.parking.add(OURS, POLICY, {DeviceKey("d1"): battery(2, 70)}, first)
    await door.parking.add(OURS, POLICY, {DeviceKey("d1", "S"): battery(1, 50)}, second)
    assert await door.applier.commit(first) == []
    with pytest.raises(Contended, match="somebody else has parked"):
        await door.applier.commit(second)
    again = Batch()
    await door.parking.add(OURS, POLICY, {DeviceKey("d1", "S"): battery(1, 50)}, again)
    assert await door.applier.commit(again) == []
    key = {"external_id": "d1", "serial_number": "S", "hardware_ids": []}
    assert await parked(door) == [("d1", key, [2, 70])]


async def test_what_is_parked_while_it_is_given_to_its_device_stays(door: Door) -> None:
    await park(door, DeviceKey("d1"))
    gives, parks = Batch(unparked=[(OURS, "d1", 1)]), Batch()
    await door.parking.add(OURS, POLICY, {DeviceKey("d1"): battery(3, 90)}, parks)
    assert await door.applier.commit(parks) == []
    assert await door.applier.commit(gives) == []
    assert [said for _, _, said in await parked(door)] == [[3, 90]]


async def test_an_id_that_invents_names_keeps_the_newest_of_a_bounded_number(door: Door) -> None:
    for first in (0, 5_000):
        evidence, batch = Evidence(), Batch()
        for n in range(first, first + 5_000):
            evidence.add_reading(f"r{n}", (n, 1.0, "C"))
            evidence.add_firmware(f"c{n}", "1.0", n)
            evidence.add_fact(f"metadata.m{n}", n, '"x"')
        await door.parking.add(OURS, POLICY, {DeviceKey("d1"): evidence}, batch)
        assert await door.applier.commit(batch) == []
    form = orjson.loads(await door.pool.fetchval("select evidence::text from rollcall.parked_devices"))
    assert [name for name, *_ in form["readings"]] == [f"r{n}" for n in range(10_000 - MAX_PARKED, 10_000)]
    assert {len(form[name]) for name in ("readings", "firmware", "facts")} == {MAX_PARKED}


async def test_the_newest_are_kept_wherever_they_stand(door: Door) -> None:
    evidence, batch = Evidence(), Batch()
    for n in range(MAX_PARKED * 2):
        evidence.add_reading(f"old{n}", (1, 1.0, "C"))
    for n in range(MAX_PARKED // 2):
        evidence.add_reading(f"new{n}", (2, 1.0, "C"))
    await door.parking.add(OURS, POLICY, {DeviceKey("d1"): evidence}, batch)
    kept = [name for name, *_ in orjson.loads(batch.parked[0].evidence)["readings"]]
    assert len(kept) == MAX_PARKED
    assert {f"new{n}" for n in range(MAX_PARKED // 2)} <= set(kept)


async def test_what_an_id_said_is_given_to_the_row_that_a_listing_has_bound_it_to(door: Door) -> None:
    await park(door, DeviceKey("d1"))
    await door.pool.execute(ROW, "another")
    await door.pool.execute(
        "insert into rollcall.device_identity (integration_id, external_device_id, device_id)"
        " select integration_id, 'd1', id from devices"
    )
    assert await door.parking.adopt(OURS, 1) == 1
    assert await door.pool.fetchval("select battery_level from devices") == 50
    assert await parked(door) == []


async def test_ids_whose_names_mean_several_rows_keep_no_other_waiting(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.store.commit.parking.PAGE", 2)
    for n in range(5):
        await park(door, DeviceKey(f"a{n}", "S"))
    await park(door, DeviceKey("z"))
    for name in ("a0", "a1", "a2", "a3", "a4", "of S", "z"):
        await door.pool.execute(ROW, name)
    await door.pool.execute("update devices set serial_number = 'S' where external_device_id = 'of S'")
    assert await door.parking.adopt(OURS, 1) == 1
    assert [name for name, _, _ in await parked(door)] == [f"a{n}" for n in range(5)]


async def park(door: Door, key: DeviceKey) -> None:
    batch = Batch()
    await door.parking.add(OURS, POLICY, {key: battery(1, 50)}, batch)
    assert await door.applier.commit(batch) == []
