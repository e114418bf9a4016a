"""2,000 devices whose webhooks are dropped, delayed or doubled, and a provider that is down: then one listing."""

import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest

from handlers.events import DeviceKey, Facts, Observation, Presence
from tests.ingest.reconcile.fleet import Fleet, micros
from tests.servers.golioth import START, Golioth
from tests.servers.http import Fault

DEVICES = 2_000
ROUNDS = 6


class Truth(NamedTuple):
    """What the provider knows of a device at the end."""

    online_at: datetime
    offline_at: datetime
    cohort: str
    enabled: bool


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class Cloud:
    """Devices that come and go; each change is an event, a fifth of which does not arrive as it should."""

    def __init__(self, fleet: Fleet, cloud: Golioth, chance: random.Random) -> None:
        self.fleet = fleet
        self.cloud = cloud
        self.chance = chance
        self.delayed: list[Observation] = []
        for number in range(DEVICES):
            cloud.add(f"d{number}")

    def round(self, number: int) -> list[Observation]:
        """Change all devices, and return the events that arrive."""
        arriving = self.delayed
        self.delayed = []
        for index, name in enumerate(self.cloud.devices):
            at = START + timedelta(hours=number, seconds=index)
            for event in self.change(name, at):
                fate = self.chance.random()
                if fate < 0.07:
                    continue
                if fate < 0.14:
                    self.delayed.append(event)
                    continue
                arriving += [event, event] if fate < 0.2 else [event]
        return arriving

    def change(self, name: str, at: datetime) -> list[Observation]:
        device, seen = self.cloud.devices[name], micros(at)
        online = self.chance.random() < 0.5
        place = "lastReport" if online else "lastSeenOffline"
        device["metadata"][place] = text(at)
        device["updatedAt"] = text(at)
        device["cohortId"] = f"cohort{self.chance.randrange(3)}"
        device["enabled"] = self.chance.random() < 0.9
        key = DeviceKey(name, f"SN-{name}")
        presence = Presence.ONLINE if online else Presence.OFFLINE
        facts = Facts(
            cohort_id=device["cohortId"], golioth_status="enabled" if device["enabled"] else "disabled"
        )
        said: dict[str, Any] = {"integration_id": self.fleet.integration, "device": key, "source": "webhook"}
        return [
            Observation(at=seen, seen_at=seen, received_at=seen, presence=presence, **said),
            Observation(at=seen, seen_at=seen, received_at=seen, facts=facts, **said),
        ]

    def truth(self) -> dict[str, Truth]:
        return {name: _truth(device) for name, device in self.cloud.devices.items()}


def _truth(device: dict[str, Any]) -> Truth:
    online = max(device["lastReport"], *(device["metadata"][key] for key in ("lastReport", "lastSeenOnline")))
    offline = device["metadata"]["lastSeenOffline"]
    moments = (datetime.fromisoformat(at) for at in (online, offline))
    return Truth(*moments, device["cohortId"], device["enabled"])


async def rows(fleet: Fleet) -> dict[str, Truth]:
    found = await fleet.pool.fetch(
        "select i.external_device_id as name, d.last_seen_online, to_timestamp(s.offline_at / 1e6) as offline_at,"
        " d.cohort_id, d.golioth_status = 'enabled' as enabled"
        " from devices d join rollcall.device_identity i on i.device_id = d.id"
        " join rollcall.device_state s on s.device_id = d.id"
    )
    return {row["name"]: Truth(*list(row.values())[1:]) for row in found}


@pytest.mark.timeout(180)
async def test_after_the_next_listing_the_rows_are_the_providers_truth(fleet: Fleet, cloud: Golioth) -> None:
    cloud.per_page = 100
    cloud.devices.clear()
    there = Cloud(fleet, cloud, random.Random(7))
    for number in range(ROUNDS):
        await fleet.tell(*there.round(number))
        if number == 1:
            assert (await fleet.reconcile()).run.status == "done"
        if number == 3:
            cloud.http.always = Fault("status", 503)
            assert (await fleet.reconcile()).run.status == "failed"
            cloud.http.always = None
    before = await rows(fleet)
    wrong = [name for name, truth in there.truth().items() if before.get(name) != truth]
    assert len(wrong) > DEVICES / 20
    run = (await fleet.reconcile()).run
    assert (run.status, run.errors, run.conflicts) == ("done", [], 0)
    assert await rows(fleet) == there.truth()
    statuses = await fleet.pool.fetch("select last_seen_online > last_seen_offline, status from devices")
    assert {tuple(row) for row in statuses} <= {(True, "online"), (False, "offline"), (None, "online")}

    newer = START + timedelta(days=2)
    event = Observation(
        fleet.integration, DeviceKey("d7"), micros(newer), micros(newer), micros(newer), "webhook",
        presence=Presence.OFFLINE,
    )  # fmt: skip
    await fleet.tell(event)
    await fleet.tell(*there.delayed)
    await fleet.reconcile()
    after = await rows(fleet)
    assert after.pop("d7").offline_at == newer
    assert after == {name: truth for name, truth in there.truth().items() if name != "d7"}
