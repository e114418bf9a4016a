"""When a run begins by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.ingest.reconcile.fleet import API_KEY, Fleet
from tests.servers.http import Fault
from tests.waiting import until


@contextlib.asynccontextmanager
async def reconciling(fleet: Fleet, **settings: Any) -> AsyncIterator[None]:
    part = asyncio.create_task(fleet.reconciler(**settings).run())
    try:
        yield
        assert not part.done(), part.exception()
    finally:
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)


async def ran(fleet: Fleet, trigger: str, status: str = "done") -> None:
    async def did() -> bool:
        query = "select exists (select from rollcall.reconcile_runs where trigger = $1 and status = $2)"
        return bool(await fleet.pool.fetchval(query, trigger, status))

    await until(did, 10, f"a run by {trigger}")


async def test_at_the_start_also_when_another_process_has_run_before(fleet: Fleet) -> None:
    await fleet.reconcile()
    async with reconciling(fleet):
        await ran(fleet, "start")


async def test_every_so_often(fleet: Fleet) -> None:
    async with reconciling(fleet, reconcile_every_s=0.3):
        await ran(fleet, "start")
        await ran(fleet, "period")


async def test_when_a_broker_of_the_organization_has_lost_our_session(fleet: Fleet) -> None:
    async with reconciling(fleet):
        await ran(fleet, "start")
        await fleet.pool.execute(
            "with m as (insert into device_integrations (organization_id, integration_type, name)"
            " select organization_id, 'mqtt', 'm' from device_integrations returning id)"
            " insert into rollcall.device_events (subject, kind, at, source) select id, 'gap', now(), 'mqtt' from m"
        )
        await ran(fleet, "session_lost")


async def test_a_provider_that_is_away_is_asked_again_at_the_next_turn_and_disturbs_nobody(
    fleet: Fleet,
) -> None:
    fleet.cloud.http.always = Fault("status", 503)
    async with reconciling(fleet, reconcile_every_s=0.3):
        await ran(fleet, "start", "failed")
        fleet.cloud.http.always = None
        await ran(fleet, "period")


async def test_an_error_of_ours_fails_one_run_and_not_the_service(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError(API_KEY)

    monkeypatch.setattr("ingest.reconcile.reconciler.provider_of", broken)
    async with reconciling(fleet):
        await ran(fleet, "start", "failed")

        async def is_logged() -> bool:
            return "an error in Rollcall: KeyError" in caplog.text

        await until(is_logged, 5, "the log says so")
    assert "KeyError" in (await fleet.last_run())["detail"]
    assert API_KEY not in caplog.text


async def test_an_inactive_integration_is_left_alone(fleet: Fleet) -> None:
    await fleet.pool.execute("update device_integrations set status = 'inactive'")
    assert await fleet.reconciler()._listings.active() == []


async def test_an_interrupted_run_begins_anew_when_its_cursor_has_expired(fleet: Fleet) -> None:
    run = await fleet.pool.fetchval(
        "insert into rollcall.reconcile_runs (id, integration_id, trigger, holder, cursor)"
        " values (gen_random_uuid(), $1, 'period', 'gone', 'what is this') returning id",
        fleet.integration,
    )
    done = (await fleet.reconcile()).run
    assert (done.id, done.status, done.created) == (run, "done", 10)


async def test_full_and_time_make_an_interrupted_run_begin_anew(fleet: Fleet) -> None:
    for options, moved in ((True, "now()"), (False, "now() - interval '2 hours'")):
        old = await fleet.pool.fetchval(
            "insert into rollcall.reconcile_runs (id, integration_id, trigger, holder, cursor, moved_at)"
            f" values (gen_random_uuid(), $1, 'period', 'gone', '3/10', {moved}) returning id",
            fleet.integration,
        )
        done = (await fleet.reconcile(full=options)).run
        assert (done.status, done.listed, done.id == old) == ("done", 10, False)
        status = await fleet.pool.fetchval("select status from rollcall.reconcile_runs where id = $1", old)
        assert status == "failed"
