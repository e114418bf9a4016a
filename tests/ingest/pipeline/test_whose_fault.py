"""A message or row that the database refuses stops nobody else, whatever its SQLSTATE; an outage stays one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiomqtt
import asyncpg
import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

BATTERY = "select battery_level from devices where external_device_id = $1"
DEAD = "select count(*) from rollcall.dead_letters"
KIND = "select kind from rollcall.dead_letters"
PARKED = "select count(*) from rollcall.parked_devices"
RAISES = """
create function public.odd_trigger() returns trigger language plpgsql as $$ begin
    if new.external_device_id like 'bad%%' and %s then %s; end if;
    return new;
end $$;
create trigger odd_trigger before %s on public.devices for each row execute function public.odd_trigger()
"""
FAULTS = {"P0001": "raise 'this device is retired'", "42703": "new.battery_level := new.no_such_column"}


@pytest.fixture
async def service(database: str, mosquitto: MosquittoServer) -> AsyncIterator[Service]:
    async with running(database, mosquitto) as one:
        await one.connected(await one.add_integration())
        yield one


async def said(service: Service, *messages: tuple[str, int]) -> None:
    """Publish battery levels in one go, over one connection, and return once the broker has all of them."""
    async with aiomqtt.Client("127.0.0.1", service.broker.port) as client:
        for device, level in messages:
            await client.publish(f"devices/{device}/telemetry", b'{"battery": %d}' % level, qos=1)


async def known(service: Service, *devices: str) -> None:
    """Let these devices have rows."""
    await said(service, *((device, 1) for device in devices))
    for device in devices:
        await service.sees(BATTERY, 1, device)


async def queued(service: Service) -> int:
    """Return how many messages the service has in hand and not acknowledged, as it says itself."""
    return await sample(service, "rollcall_waiting_messages")


async def sample(service: Service, name: str) -> int:
    """Return a metric of the process that has no labels."""
    async with http_client(base_url=service.url) as client:
        text = (await client.get("/metrics")).text
    line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
    return int(float(line.split()[1]))


async def ready(service: Service) -> tuple[int, dict[str, object]]:
    answer = await service.ready()
    return answer.status_code, answer.json()


@contextlib.asynccontextmanager
async def locked(service: Service, where: str) -> AsyncIterator[None]:
    """Hold rows of devices as a person's open transaction does."""
    async with service.pool.acquire() as person:
        transaction = person.transaction()
        await transaction.start()
        await person.execute(f"select 1 from devices where {where} for update")
        try:
            yield
        finally:
            await transaction.rollback()


async def test_a_row_that_cannot_be_made_stops_nobody_and_is_a_dead_letter(service: Service) -> None:
    await service.pool.execute("create unique index odd on devices (organization_id, lower(name))")
    await known(service, "Pump", "other")
    await said(service, ("PUMP", 5), ("other", 6), ("fresh", 7))
    await service.sees(KIND, "refused.23505")
    await service.sees(BATTERY, 6, "other")
    await service.sees(BATTERY, 7, "fresh")
    await until(lambda: nothing_in_hand(service), 5, "all of it is acknowledged")
    assert (await ready(service))[0] == 200


async def test_a_row_that_cannot_be_made_is_a_dead_letter_also_where_nothing_else_is_said(
    service: Service,
) -> None:
    await service.pool.execute("create unique index odd on devices (organization_id, lower(name))")
    await known(service, "Pump")
    await said(service, ("PUMP", 5))
    await service.sees(KIND, "refused.23505")
    await until(lambda: nothing_in_hand(service), 5, "it is acknowledged")


async def test_a_dead_letter_of_a_refused_row_quotes_no_row(service: Service) -> None:
    await service.pool.execute(
        "alter table devices add constraint odd check (name <> 'secret-name') not valid"
    )
    await said(service, ("secret-name", 5))
    await service.sees(KIND, "refused.23514")
    error = await service.pool.fetchval("select error from rollcall.dead_letters")
    assert "odd" in error
    assert "Failing row" not in error
    assert "secret-name" not in error


async def test_many_rows_that_cannot_be_made_are_no_outage(service: Service) -> None:
    await service.pool.execute(RAISES % ("true", "raise 'the organization is full'", "insert"))
    await known(service, "good")
    await said(service, *((f"bad{n}", 2) for n in range(12)), ("good", 2))
    await service.sees(BATTERY, 2, "good")
    kept = f"select (select count(*) from rollcall.dead_letters) + ({PARKED})"
    await service.sees(kept, 12)
    assert (await ready(service))[0] == 200


@pytest.mark.parametrize("sqlstate", FAULTS)
async def test_a_trigger_that_fails_for_one_device_stops_no_other(service: Service, sqlstate: str) -> None:
    await known(service, "bad", "d1", "d2")
    await service.pool.execute(RAISES % ("true", FAULTS[sqlstate], "update"))
    await said(service, ("d1", 21), ("bad", 22), ("d2", 23))
    await service.sees(KIND, f"refused.{sqlstate}")
    await service.sees(BATTERY, 21, "d1")
    await service.sees(BATTERY, 23, "d2")
    assert await service.pool.fetchval(BATTERY, "bad") == 1
    await until(lambda: nothing_in_hand(service), 5, "all of it is acknowledged")


async def test_of_a_device_only_the_message_that_is_refused_is_a_dead_letter(service: Service) -> None:
    await known(service, "bad", "d1")
    await service.pool.execute(RAISES % ("new.battery_level = 13", "raise 'thirteen'", "update"))
    async with locked(service, "external_device_id = 'd1'"):
        await said(service, ("d1", 20), ("bad", 11), ("bad", 12), ("d1", 21), ("bad", 13))
        await until(lambda: some_in_hand(service), 5, "they are in one batch or two")
    await service.sees(KIND, "refused.P0001")
    await service.sees(BATTERY, 12, "bad")
    await service.sees(BATTERY, 21, "d1")
    assert await service.pool.fetchval(DEAD) == 1


async def test_what_fails_with_nobody_beside_it_waits_until_another_device_shows_whose_fault_it_is(
    service: Service,
) -> None:
    await known(service, "bad", "d1")
    await service.pool.execute(RAISES % ("true", "raise 'retired'", "update"))
    await said(service, ("bad", 22))
    await until(lambda: is_ready(service, 503), 10, "it is an outage")
    assert await service.pool.fetchval(DEAD) == 0
    assert await some_in_hand(service)
    await said(service, ("d1", 23))
    await service.sees(KIND, "refused.P0001")
    await service.sees(BATTERY, 23, "d1")
    await until(lambda: is_ready(service, 200), 10, "it is well again")
    await until(lambda: nothing_in_hand(service), 5, "all of it is acknowledged")


async def test_what_fails_for_all_devices_is_an_outage_and_no_dead_letter(service: Service) -> None:
    await known(service, "bad1", "bad2", "bad3")
    await service.pool.execute(RAISES % ("true", "raise 'broken'", "update"))
    await said(service, ("bad1", 31), ("bad2", 32), ("bad3", 33))
    await until(lambda: is_ready(service, 503), 10, "it is an outage")
    await said(service, ("bad1", 41))
    await asyncio.sleep(1)
    assert await service.pool.fetchval(DEAD) == 0
    await service.pool.execute("drop trigger odd_trigger on public.devices")
    await service.sees(BATTERY, 41, "bad1", within_s=15)
    await service.sees(BATTERY, 33, "bad3")
    assert await service.pool.fetchval(DEAD) == 0


async def test_more_than_one_in_a_hundred_devices_refused_is_an_outage_and_ten_of_fifty_are_not(
    service: Service,
) -> None:
    bad = [f"bad{n}" for n in range(11)]
    good = [f"d{n}" for n in range(39)]
    await known(service, *bad, *good)
    await service.pool.execute(RAISES % ("true", "raise 'retired'", "update"))
    for round_ in range(2, 4):  # each of ten devices twice, and thirteen messages are not thirteen devices
        await said(
            service, *((device, round_) for device in bad[:10]), *((device, round_) for device in good)
        )
        await service.sees(BATTERY, round_, good[-1])
    assert await service.pool.fetchval(DEAD) == 20
    await said(service, *((device, 9) for device in bad), *((device, 9) for device in good))
    await until(lambda: is_ready(service, 503), 10, "the eleventh makes it an outage")
    assert (
        await service.pool.fetchval("select count(*) from rollcall.dead_letters where payload like '%9%'")
        == 0
    )


async def test_a_row_that_somebody_holds_stops_no_other_and_is_written_once_it_is_free(
    service: Service,
) -> None:
    await known(service, "held", "d1")
    async with locked(service, "external_device_id = 'held'"):
        await said(service, ("held", 52), ("d1", 53))
        await service.sees(BATTERY, 53, "d1")
        await service.sees(PARKED, 1)
        await until(lambda: nothing_in_hand(service), 5, "both are acknowledged")
        assert (await ready(service))[0] == 200
    await service.sees(BATTERY, 52, "held", within_s=15)
    assert await service.pool.fetchval(DEAD) == 0
    assert await service.pool.fetchval(PARKED) == 0


async def test_a_row_that_somebody_holds_is_no_outage_where_nobody_else_speaks(service: Service) -> None:
    await known(service, "held")
    async with locked(service, "external_device_id = 'held'"):
        await said(service, ("held", 52))
        await service.sees(PARKED, 1)
        assert (await ready(service))[0] == 200
    await service.sees(BATTERY, 52, "held", within_s=15)


async def test_one_write_that_takes_too_long_stops_no_other(service: Service) -> None:
    await known(service, "bad", "d1")
    person = await asyncpg.connect(service.pool._connect_args[0])
    await person.execute(RAISES % ("true", "perform pg_sleep(3)", "update"))
    await person.execute(
        "alter database %s set statement_timeout = '1s'" % await person.fetchval("select current_database()")
    )
    await person.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rollcall'"
    )
    await said(service, ("bad", 62), ("d1", 63))
    await service.sees(BATTERY, 63, "d1", within_s=20)
    await service.sees(PARKED, 1)
    assert await service.pool.fetchval(DEAD) == 0
    await person.execute("drop trigger odd_trigger on public.devices")
    await service.sees(BATTERY, 62, "bad", within_s=20)
    await person.close()


async def test_one_parked_row_that_is_refused_does_not_keep_the_others_parked(service: Service) -> None:
    await service.pool.execute(
        'update device_integrations set settings = settings || \'{"unknown_devices": "park"}\''
    )
    await service.connected(await service.pool.fetchval("select id from device_integrations"))
    async with service.pool.acquire() as person:
        await person.execute(RAISES % ("true", "raise 'retired'", "update"))
    await said(service, ("bad1", 71), *((f"p{n}", 72) for n in range(5)))
    await service.sees(PARKED, 6)
    await service.pool.execute(
        "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
        " select organization_id, i.id, p.external_device_id, p.external_device_id, 'x'"
        " from rollcall.parked_devices p join device_integrations i on i.id = p.integration_id"
    )
    await service.sees(PARKED, 1, within_s=20)
    await service.sees("select count(*) from devices where battery_level = 72", 5)


async def test_what_waits_longer_than_a_few_seconds_is_in_the_log_and_in_readyz_whatever_the_reason(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await known(service, "d1")
    async with service.pool.acquire() as person, person.transaction():
        await person.execute("lock table rollcall.mqtt_digests")
        await said(service, ("d1", 82))
        await until(lambda: "has waited" in caplog.text, 15, "it is in the log")
        status, body = await ready(service)
        oldest = body["oldestUnacknowledged"]
        assert isinstance(oldest, dict)
        assert oldest["late"]
        assert oldest["seconds"] > 5
        assert status == 503
    await service.sees(BATTERY, 82, "d1", within_s=15)
    await until(lambda: is_ready(service, 200), 10, "it is well again")


async def test_unknown_devices_that_are_not_kept_are_counted_in_the_database_too(
    database: str, mosquitto: MosquittoServer
) -> None:
    dropped = "select unknown_dropped from rollcall.integration_counts where integration_id = $1"
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(unknown_devices="ignore")
        await service.connected(integration)
        await said(service, ("x1", 1), ("x2", 2), ("x3", 3))
        await service.sees(dropped, 3, integration)
        await said(service, ("x4", 1))
        await service.sees(dropped, 4, integration)


async def test_trials_of_a_refused_batch_do_not_age_the_digests_of_earlier_publishes(
    service: Service,
) -> None:
    await known(service, "bad", "d1")
    await service.pool.execute(RAISES % ("true", "raise 'retired'", "update"))
    async with locked(service, "external_device_id = 'd1'"):
        await said(service, *(("d1", n) for n in range(2, 60)), ("bad", 60))
    await service.sees(DEAD, 1, within_s=20)
    await service.sees(BATTERY, 59, "d1", within_s=20)
    committed = "select committed from rollcall.mqtt_sessions"
    assert await service.pool.fetchval(committed) <= await sample(service, "rollcall_received_total")


async def nothing_in_hand(service: Service) -> bool:
    return await queued(service) == 0


async def some_in_hand(service: Service) -> bool:
    return await queued(service) > 0


async def is_ready(service: Service, status: int) -> bool:
    return (await ready(service))[0] == status
