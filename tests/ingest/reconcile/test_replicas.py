"""One run at a time per integration over all replicas, and a takeover after a crash."""

import asyncio
from collections.abc import Callable

import pytest

from ingest.errors import RunUnderWay
from ingest.reconcile.phases import Options
from ingest.reconcile.reconciler import Reconciler
from ingest.reconcile.rows import LastRun
from ingest.reconcile.runs import RunLost, Runs
from tests.ingest.reconcile.fleet import Fleet
from tests.waiting import until

PAGES = 6
"""Of two devices, and one that shows that there are no more."""


async def test_two_replicas_never_run_the_same_one_at_once(fleet: Fleet) -> None:
    tries = [fleet.reconciler(f"replica {n}").reconcile(fleet.integration) for n in range(4)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in done].count(RunUnderWay) == 3
    assert fleet.cloud.pages == PAGES
    assert await fleet.pool.fetchval("select count(*) from rollcall.reconcile_runs") == 1


async def test_two_runs_of_one_process_exclude_each_other_too(fleet: Fleet) -> None:
    reconciler = fleet.reconciler()
    tries = [reconciler.reconcile(fleet.integration, Options(dry_run=dry)) for dry in (False, True)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in done].count(RunUnderWay) == 1


async def test_replicas_that_start_together_reconcile_once(fleet: Fleet) -> None:
    replicas = [fleet.reconciler(f"replica {n}") for n in range(3)]
    looks = [_counted(replica) for replica in replicas]
    parts = [asyncio.create_task(replica.run()) for replica in replicas]

    async def is_done() -> bool:
        run = await fleet.last_run()
        return run is not None and run["status"] == "done"

    await until(is_done, 10, "a run is done")
    before = [look() for look in looks]

    async def all_have_looked_again() -> bool:
        return all(look() >= old + 3 for look, old in zip(looks, before, strict=True))

    await until(all_have_looked_again, 10, "each replica has looked again")
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
    assert (await fleet.pool.fetchval("select count(*) from rollcall.reconcile_runs"), fleet.cloud.pages) == (
        1,
        PAGES,
    )


def _counted(replica: Reconciler) -> Callable[[], int]:
    """Count how often a replica has looked what is due."""
    active, looks = replica._listings.active, [0]

    async def counting() -> list[LastRun]:
        looks[0] += 1
        return await active()

    replica._listings.active = counting  # type: ignore[method-assign]
    return lambda: looks[0]


async def test_a_run_whose_process_died_is_taken_over_and_the_dead_one_can_write_no_more(
    fleet: Fleet,
) -> None:
    died = Runs(fleet.pool, "died")
    run = await died.begin(fleet.integration, "period", dry_run=False, anew=False)
    lease = "insert into rollcall.leases (name, holder, expires_at) values ($1, 'died', now() + '0.5 s')"
    await fleet.pool.execute(lease, f"reconcile/{fleet.integration}")
    part = asyncio.create_task(fleet.reconciler("other").run())

    async def is_done() -> bool:
        status = await fleet.pool.fetchval("select status from rollcall.reconcile_runs where id = $1", run.id)
        return bool(status == "done")

    await until(is_done, 10, "the other has taken it over")
    part.cancel()
    await asyncio.gather(part, return_exceptions=True)
    async with fleet.pool.acquire() as connection:
        with pytest.raises(RunLost):
            await died.move(connection, run, listed=1)
    with pytest.raises(RunLost):
        await died.finish(run, "done")


async def test_the_lease_is_renewed_while_a_run_lasts_longer_than_it(fleet: Fleet) -> None:
    """The provider stands still for two terms of the lease of one second; another replica must not get it."""
    gate = asyncio.Event()
    answer = fleet.cloud.http._handler

    async def slowly(request):  # type: ignore[no-untyped-def]
        await gate.wait()
        return await answer(request)

    fleet.cloud.http._handler = slowly
    reconciler = fleet.reconciler("first")
    reconciler._limits = None
    running = asyncio.create_task(reconciler.reconcile(fleet.integration))
    name = f"reconcile/{fleet.integration}"

    async def is_renewed_twice() -> bool:
        query = "select expires_at - now() > '0.6 s' and now() - started_at > '2 s' from rollcall.leases l,"
        found = await fleet.pool.fetchval(f"{query} rollcall.reconcile_runs where l.name = $1", name)
        return bool(found)

    await until(is_renewed_twice, 10, "the lease was renewed")
    with pytest.raises(RunUnderWay):
        await fleet.reconciler("second").reconcile(fleet.integration)
    gate.set()
    assert (await running).run.status == "done"
    assert await fleet.pool.fetchval("select count(*) from rollcall.leases") == 0
