"""What is parked by several senders, or under several keys, at once."""

import orjson

from handlers.events import DeviceKey
from handlers.evidence import Evidence
from ingest.store.batch import Batch
from ingest.store.creation import UnknownPolicy
from tests.ingest.store.test_strangers import OURS, Door, door

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
