"""A dry run shows what a real one then does, and changes nothing."""

from typing import Any

from ingest.reconcile import differences
from ingest.reconcile.differences import Difference
from tests.ingest.reconcile.fleet import Fleet


async def rows(fleet: Fleet) -> tuple[dict[Any, Any], dict[Any, str]]:
    """All rows as `differences` sees them, and the devices' names."""
    found = await fleet.pool.fetch("select device_id, external_device_id from rollcall.device_identity")
    names = {row["device_id"]: row["external_device_id"] for row in found}
    return await differences.after_all(fleet.pool, list(names)), names


async def changed(fleet: Fleet) -> None:
    """Three known devices and seven new ones; one of them with a name of its own and tags on both sides."""
    everything = dict(fleet.cloud.devices)
    fleet.cloud.devices = {name: everything[name] for name in ("d1", "d2", "d3")}
    await fleet.reconcile()
    fleet.cloud.devices = everything
    update = """update devices set metadata = '{"tags": ["ours"]}' where serial_number = 'SN-d1'"""
    await fleet.pool.execute(update)
    await fleet.pool.execute("update devices set cohort_id = 'ours' where serial_number = 'SN-d2'")
    for device in everything.values():
        device |= {
            "cohortId": "cohort2",
            "updatedAt": "2026-02-01T00:00:00Z",
            "lastReport": "2026-02-01T00:00:00Z",
        }
    fleet.cloud.tags["tag2"] = "indoor"
    everything["d1"]["tagIds"] = ["tag2"]


async def test_it_shows_what_a_real_run_then_does(fleet: Fleet) -> None:
    await changed(fleet)
    before, _ = await rows(fleet)
    dry = await fleet.reconcile(dry_run=True)
    assert (dry.run.status, dry.run.created, dry.run.changed, dry.run.conflicts) == ("dry", 7, 3, 1)
    real = await fleet.reconcile()
    counted = ("listed", "created", "matched", "changed", "unchanged", "conflicts", "unknown", "missing")
    assert [real.run.counts[name] for name in counted] == [dry.run.counts[name] for name in counted]
    after, names = await rows(fleet)
    shown = [one for one in dry.differences if one.what in ("created", "changed")]
    assert shown == list(differences.between(before, after, names))
    rest = [one for one in dry.differences if one not in shown]
    assert rest == [
        Difference("d1", "pushed", "metadata.tags", ["indoor"], ["ours", "indoor"]),
        Difference("d2", "conflict", "cohort_id", "ours", "cohort2"),
    ]
    assert fleet.cloud.tags[fleet.cloud.devices["d1"]["tagIds"][0]] == "ours"


async def test_it_changes_nothing(fleet: Fleet) -> None:
    await changed(fleet)
    before = await fleet.everything()
    await fleet.reconcile(dry_run=True)
    assert await fleet.everything() == before
    assert not [request for request in fleet.cloud.http.requests if request.method != "GET"]


async def test_it_leaves_an_interrupted_run_to_be_resumed(fleet: Fleet) -> None:
    interrupted = await fleet.pool.fetchval(
        "insert into rollcall.reconcile_runs (id, integration_id, trigger, holder, cursor)"
        " values (gen_random_uuid(), $1, 'period', 'gone', '1/10') returning id",
        fleet.integration,
    )
    await fleet.reconcile(dry_run=True)
    assert (await fleet.reconcile()).run.id == interrupted
