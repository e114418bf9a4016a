"""Rows of the platform that are refused late, together, in floods or behind a lock stop nobody else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiomqtt
import pytest

from tests.http_client import http_client
from tests.ingest.pipeline.test_whose_fault import (
    BATTERY,
    DEAD,
    KIND,
    PARKED,
    RAISES,
    is_ready,
    known,
    locked,
    nothing_in_hand,
    ready,
    said,
    some_in_hand,
)
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

DEFERRED = """
create function public.odd_trigger() returns trigger language plpgsql as $$ begin
    if new.external_device_id like 'bad%%' then raise 'retired'; end if;
    return null;
end $$;
create constraint trigger odd_trigger after %s on public.devices deferrable initially deferred
for each row execute function public.odd_trigger()
"""
AT_MOST_ONE = """
create function public.odd_trigger() returns trigger language plpgsql as $$ begin
    if (select count(*) from public.devices where battery_level > 50) > 1 then raise 'too many'; end if;
    return null;
end $$;
create trigger odd_trigger after update on public.devices for each statement execute function public.odd_trigger()
"""


@pytest.fixture
async def service(database: str, mosquitto: MosquittoServer) -> AsyncIterator[Service]:
    async with running(database, mosquitto) as one:
        await one.connected(await one.add_integration())
        yield one


@pytest.mark.parametrize("when", ["insert", "update"])
async def test_a_row_that_is_refused_at_the_commit_stops_no_other(service: Service, when: str) -> None:
    await known(service, "d1", *(["bad"] if when == "update" else []))
    await service.pool.execute(DEFERRED % when)
    await said(service, ("bad", 22), ("d1", 23), ("fresh", 24))
    await service.sees(BATTERY, 23, "d1")
    await service.sees(BATTERY, 24, "fresh")
    await service.sees(KIND, "refused.P0001")
    await until(lambda: nothing_in_hand(service), 5, "all of it is acknowledged")


async def test_hundreds_of_rows_that_cannot_be_made_are_no_outage(service: Service) -> None:
    await known(service, "good")
    async with service.pool.acquire() as person:
        await person.execute(RAISES % ("true", "raise 'the organization is full'", "insert"))
    async with never_unready(service):
        await said(service, *((f"bad{n}", 2) for n in range(600)), ("good", 2))
        await service.sees(BATTERY, 2, "good")
        await service.sees(f"select (select count(*) from rollcall.dead_letters) + ({PARKED})", 600)


async def test_a_device_that_floods_with_what_is_refused_keeps_nobody_waiting(service: Service) -> None:
    await known(service, "d1", "d2", "bad")
    await service.pool.execute(RAISES % ("new.battery_level < 90", "raise 'retired'", "update"))
    many = [("bad", n % 80 + 2) for n in range(1500)]
    await said(service, *many[:700], ("d1", 21), *many[700:], ("d2", 22))
    await service.sees(BATTERY, 21, "d1")
    await service.sees(BATTERY, 22, "d2")
    await until(lambda: nothing_in_hand(service), 10, "all of it is acknowledged")
    assert 0 < await service.pool.fetchval(DEAD) < 200
    await service.pool.execute("drop trigger odd_trigger on public.devices")
    await service.sees(PARKED, 0, within_s=15)
    await service.sees("select battery_level > 1 from devices where external_device_id = 'bad'", True)


async def test_devices_that_are_refused_only_together_stop_nobody(service: Service) -> None:
    await known(service, "a", "b", "c")
    await service.pool.execute(AT_MOST_ONE)
    async with locked(service, "external_device_id = 'c'"):
        await said(service, ("c", 3), ("a", 60), ("b", 61))
        await service.sees(PARKED, 1)
        await said(service, ("c", 4))
    await service.sees(BATTERY, 4, "c", within_s=20)
    await service.sees(KIND, "refused.P0001")
    await until(lambda: is_ready(service, 200), 10, "it is well again")
    assert await service.pool.fetchval("select count(*) from devices where battery_level > 50") == 1


async def test_first_contact_with_a_row_that_somebody_holds_stops_no_other(service: Service) -> None:
    await known(service, "d1")
    await service.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " select organization_id, id, 'held', 'held', 'x' from device_integrations"
    )
    async with locked(service, "external_device_id = 'held'"):
        await said(service, ("held", 52), ("d1", 53), ("fresh", 54))
        await service.sees(BATTERY, 53, "d1")
        await service.sees(BATTERY, 54, "fresh")
        assert (await ready(service))[0] == 200
    await service.sees(BATTERY, 52, "held", within_s=15)


async def test_a_new_row_behind_an_insert_that_is_not_committed_stops_no_other(service: Service) -> None:
    await service.pool.execute("create unique index odd on devices (organization_id, lower(name))")
    await known(service, "d1")
    async with service.pool.acquire() as person:
        transaction = person.transaction()
        await transaction.start()
        await person.execute(
            "insert into devices (organization_id, external_device_id, name, device_type)"
            " select organization_id, 'x', 'held', 'x' from device_integrations"
        )
        await said(service, ("held", 52), ("d1", 53), ("fresh", 54))
        await service.sees(BATTERY, 53, "d1")
        await service.sees(BATTERY, 54, "fresh")
        await said(service, ("held", 53), ("d1", 54))
        await service.sees(BATTERY, 54, "d1", within_s=1.5)
        assert (await ready(service))[0] == 200
        await transaction.rollback()
    assert await service.pool.fetchval(DEAD) == 0


async def test_a_row_that_somebody_holds_is_waited_for_once_and_not_with_each_message(
    service: Service,
) -> None:
    await known(service, "held", "d1")
    async with locked(service, "external_device_id = 'held'"):
        await said(service, ("held", 2))
        await service.sees(PARKED, 1)
        for level in range(3, 9):
            await said(service, ("held", level), ("d1", level))
            await service.sees(BATTERY, level, "d1", within_s=1.5)
    await service.sees(BATTERY, 8, "held", within_s=15)
    await said(service, ("held", 9))
    await service.sees(BATTERY, 9, "held", within_s=1.5)


async def test_an_organization_that_somebody_holds_stops_no_device_that_is_known(service: Service) -> None:
    await known(service, "d1")
    async with service.pool.acquire() as person, person.transaction():
        await person.execute("select 1 from organizations for update")
        await said(service, ("fresh", 52), ("d1", 53))
        await service.sees(BATTERY, 53, "d1")
        async with http_client(
            base_url=service.url
        ) as client:  # a token would wait for the organization, too
            assert (await client.get("/readyz")).status_code == 200


async def test_an_integration_that_is_deleted_while_its_events_wait_stops_no_other(service: Service) -> None:
    await known(service, "d1")
    webhooks = await service.add_webhooks(kind="webhook", webhook={"auth": "none"})
    events: list[dict[str, object]] = [{"battery": 1}, {"device_id": "w", "battery": 1}]
    async with http_client(base_url=service.url, timeout=30) as client:
        async with service.pool.acquire() as person, person.transaction():
            await person.execute("lock table rollcall.webhook_events, rollcall.dead_letters")
            posting = [
                asyncio.create_task(
                    client.post(f"/webhooks/{webhooks}", json=event, headers={"webhook-id": str(n)})
                )
                for n, event in enumerate(events)
            ]
            await until(lambda: some_in_hand(service), 5, "they are in hand")
            await person.execute("delete from device_integrations where id = $1", webhooks)
        await said(service, ("d1", 53))
        await service.sees(BATTERY, 53, "d1")
        answers = await asyncio.gather(*posting)
    assert "applied" not in "".join(answer.text for answer in answers)
    await until(lambda: is_ready(service, 200), 10, "it is well again")


async def test_an_integration_that_is_deleted_while_its_devices_talk_stops_no_other(service: Service) -> None:
    await known(service, "d1")
    other = await service.add_integration("o", topics={"telemetry": "other/{device_id}/telemetry"})
    await service.connected(other)
    async with service.pool.acquire() as person, person.transaction():
        await person.execute("lock table rollcall.integration_counts")
        async with aiomqtt.Client("127.0.0.1", service.broker.port) as client:
            await client.publish("other/x/telemetry", b'{"battery": 1}', qos=1)
            await client.publish("other/x/telemetry", b"?", qos=1)
        await until(lambda: some_in_hand(service), 5, "they are in hand")
        await person.execute("delete from device_integrations where id = $1", other)
    await said(service, ("d1", 53))
    await service.sees(BATTERY, 53, "d1")
    await until(lambda: nothing_in_hand(service), 10, "all of it is acknowledged")


@contextlib.asynccontextmanager
async def never_unready(service: Service) -> AsyncIterator[None]:
    """Fail where /readyz answers anything but 200 meanwhile."""
    answers: set[int] = set()

    async def watch() -> None:
        while True:
            answers.add((await ready(service))[0])
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    assert answers == {200}
