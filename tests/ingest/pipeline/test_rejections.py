"""Input that was not used is seen: by device and field, by integration, and in the log, once a minute and kind."""

import asyncio
import logging
import time
from typing import Any

import aiomqtt
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.store.people import device_details, devices
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

SECRET = "a-secret-of-16-chars-or-more"
KEPT = "select count(*) from rollcall.field_errors"


async def labelled(service: Service, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    async with http_client(base_url=service.url) as client:
        text = (await client.get("/metrics")).text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if part in one.getMessage()]


async def test_a_bad_value_does_not_stay_unseen(database: str, mosquitto: MosquittoServer) -> None:
    async with running(database, mosquitto) as service:
        plant = await service.add_integration("plant")
        await service.connected(plant)
        await service.publish("devices/d1/telemetry", b'{"battery": 300, "rssi": -60, "temp": NaN}')
        await service.sees(KEPT, 2)
        async with service.pool.acquire() as connection:
            d1 = await devices.find(connection, None, "d1")
            shown = await device_details.field_errors(connection, None, d1)
        assert {(one.field, one.value) for one in shown} == {("battery", "300"), ("temp", "NaN")}
        assert all(one.reason and one.at is not None for one in shown)
        about = {"integration": "plant", "integration_id": str(plant)}
        assert await labelled(service, "rollcall_field_errors_total", **about, field="battery") == 1
        assert await labelled(service, "rollcall_field_errors_total", **about, field="temp") == 1
        await service.pool.execute("delete from devices")
        assert await service.pool.fetchval(KEPT) == 0


async def test_a_bad_value_of_a_webhook_does_not_stay_unseen_nor_one_of_an_entry_by_its_index(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service, http_client(base_url=service.url) as client:
        hook = await service.add_webhooks("w", webhook={"auth": "none"})
        await service.connected(await service.add_integration("plant"))
        await client.post(f"/webhooks/{hook}", json=[{"device_id": "d1", "battery": 300, "rssi": -60}])
        await service.publish("devices/d2/telemetry", b'[{"fw": "1"}, {"fw": "2", "battery": 301}]')
        await service.sees(KEPT, 2)
        rows = await service.pool.fetch(
            "select d.external_device_id, f.field, f.value from rollcall.field_errors f"
            " join devices d on d.id = f.device_id order by 1"
        )
        assert [tuple(row) for row in rows] == [("d1", "battery", "300"), ("d2", "battery", "301")]
        assert await labelled(service, "rollcall_field_errors_total", integration_id=str(hook)) == 1


async def test_ten_thousand_bad_messages_among_good_ones_do_not_write_a_row_each(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, mosquitto) as service:
        await service.pool.execute(
            "create table writes (field text);"
            " create function count_write() returns trigger language plpgsql as"
            " $$ begin insert into public.writes values (new.field); return new; end $$;"
            " create trigger counted after insert or update on rollcall.field_errors"
            " for each row execute function count_write()"
        )
        await service.connected(await service.add_integration("plant"))
        began = time.monotonic()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for n in range(10_000):
                await client.publish(
                    f"devices/d{n % 5}/telemetry", f'{{"battery": {300 + n}, "x": 1}}', qos=0
                )
            await client.publish("devices/good/telemetry", b'{"battery": 50}', qos=1)
        await service.sees("select battery_level from devices where external_device_id = 'good'", 50)
        await service.sees(KEPT, 5)
        minutes = 1 + int((time.monotonic() - began) // 60)
        assert 5 <= await service.pool.fetchval("select count(*) from writes") <= 5 * minutes
        assert await labelled(service, "rollcall_field_errors_total", field="battery") >= 9_000
    told = lines(caplog, "fields could not be used")
    assert len(told) <= minutes
    assert told[0] == "integration plant: 1 fields could not be used: battery (device 'd0')"


async def test_a_device_whose_row_is_locked_does_not_keep_others_errors_from_being_written(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service, asyncpg.create_pool(database, min_size=1) as pool:
        await service.connected(await service.add_integration("plant"))
        for name in ("locked", "free"):
            await service.publish(f"devices/{name}/telemetry", b'{"battery": 5}')
        await service.sees("select count(*) from devices where battery_level = 5", 2)
        async with pool.acquire() as other, other.transaction():
            await other.execute("select from devices where external_device_id = 'locked' for update")
            await service.publish("devices/locked/telemetry", b'{"battery": 300, "rssi": "x"}')
            await service.publish("devices/free/telemetry", b'{"battery": 300}')
            await service.sees(
                "select count(*) from rollcall.field_errors f join devices d on d.id = f.device_id"
                " where d.external_device_id = 'free'",
                1,
            )


async def test_an_error_of_a_device_without_a_row_disturbs_nothing(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        plant = await service.add_integration("plant", unknown_devices={"policy": "ignore"})
        await service.connected(plant)
        for n in range(50):
            await service.publish(f"devices/invented-{n}/telemetry", b'{"battery": 300, "rssi": -60}')
        about = {"integration": "plant", "integration_id": str(plant)}

        async def dropped() -> bool:
            return await labelled(service, "rollcall_unknown_dropped_total", **about) == 50

        await until(dropped, 10, "they are counted as dropped")
        assert await service.pool.fetchval(KEPT) == 0
        assert await labelled(service, "rollcall_database_outage") == 0


async def test_a_flood_of_dead_letters_is_one_log_line_without_what_they_hold(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, mosquitto) as service:
        plant = await service.add_integration("plant")
        await service.connected(plant)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for _ in range(100):
                await client.publish("devices/d1/telemetry", b'{"password": "hunter2"', qos=1)
            await client.publish("devices/d1/telemetry", b"17", qos=1)
        await service.sees("select count(*) from rollcall.dead_letters", 101)
        about = {"integration": "plant", "integration_id": str(plant)}
        assert await labelled(service, "rollcall_dead_letters_total", **about, kind="json") == 100
        assert await labelled(service, "rollcall_dead_letters_total", **about, kind="shape") == 1
    told = lines(caplog, "dead letters")
    assert told == [f"integration plant: 1 messages are dead letters: {kind}" for kind in ("json", "shape")]
    assert "hunter2" not in caplog.text


async def test_refused_webhooks_are_not_a_log_line_each_and_name_their_integration_but_no_secret(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(database, None) as service, http_client(base_url=service.url) as client:
        hook = await service.add_webhooks("w", secret=SECRET, webhook={"auth": "header"})
        caplog.clear()
        requests: list[dict[str, Any]] = [
            {"url": f"/webhooks/{hook}", "headers": {"x-webhook-secret": "guess-hunter2-hunter2"}},
            {"url": "/webhooks/00000000-0000-0000-0000-000000000009"},
        ]
        for one in requests * 4:
            await client.post(content=b"{}", **one)
        about = {"integration": "w", "integration_id": str(hook)}
        assert await labelled(service, "rollcall_webhook_requests_total", **about, status="401") == 4
        unknown = {"integration": "", "integration_id": "", "status": "404"}
        assert await labelled(service, "rollcall_webhook_requests_total", **unknown) >= 4
        await asyncio.sleep(0)
    told = lines(caplog, "webhook requests were answered")
    assert told.count("integration w: 1 webhook requests were answered with 401 Unauthorized") == 1
    assert len([one for one in told if "404" in one]) <= 1
    assert "hunter2" not in caplog.text
    assert SECRET not in caplog.text
