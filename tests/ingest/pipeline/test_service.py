"""The whole service as its three users meet it: the device, the database, the person on call."""

import asyncio

import aiomqtt
import asyncpg
import pytest

from ingest.integrations.planner import Planner
from ingest.integrations.plans import SessionPlan
from ingest.store.config.integrations import IntegrationRow
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.waiting import until

STATUS = "select status::text from devices where external_device_id = $1"
BATTERY = "select battery_level from devices where external_device_id = $1"
DEAD = "select count(*) from rollcall.dead_letters"


async def test_a_telemetry_message_makes_a_device_that_is_online(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish(
            "devices/d1/telemetry", '{"battery": 87, "rssi": -71, "fw": "2.3.1", "temp": 21.5}'
        )
        await service.sees(BATTERY, 87, "d1")
        row = await service.pool.fetchrow("select * from devices")
        assert (row["status"], row["signal_strength"], row["firmware_version"]) == ("online", -71, "2.3.1")
        kinds = await service.pool.fetch(
            "select kind from rollcall.device_events where subject = $1", row["id"]
        )
        assert {kind["kind"] for kind in kinds} == {"created", "online", "firmware"}


async def test_a_will_makes_it_offline_and_telemetry_after_a_late_will_is_evidence(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        will = aiomqtt.Will("devices/d1/connection", "offline", qos=1)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="d1", will=will) as device:
            await device.publish("devices/d1/connection", "online", qos=1)
            await service.sees(STATUS, "online", "d1")
            device._client._sock_close()
        await service.sees(STATUS, "offline", "d1")
        await service.publish("devices/d1/telemetry", '{"battery": 5, "ts": 1}')
        await service.sees(STATUS, "online", "d1")


async def test_a_retained_online_that_outlives_its_device_is_swept_and_does_not_flap(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, offline_after_s=10) as service:
        await service.publish("devices/d1/status", "online", retain=True)
        integration = await service.add_integration()
        await service.connected(integration)
        await service.sees(STATUS, "online", "d1")
        await service.sees(STATUS, "offline", "d1", within_s=20)
        await service.pool.execute(
            """update device_integrations set settings = settings || '{"client_id": "anew"}'"""
        )
        query = "select count(*) from rollcall.mqtt_sessions where client_id like 'anew%' and heard_until > heard_since"
        await service.sees(query, 1)
        await service.sees(STATUS, "offline", "d1")


async def test_ten_thousand_bad_messages_hold_no_slot_and_are_kept_whole(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, max_inflight=1000) as service:
        await service.connected(await service.add_integration())
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for n in range(10_000):
                await client.publish(f"devices/d{n % 10}/telemetry", b"{broken %d" % n, qos=1)
            await client.publish("devices/good/telemetry", '{"battery": 1}', qos=1)
        await service.sees(BATTERY, 1, "good", within_s=30)
        await service.sees(DEAD, 10_000)
        row = await service.pool.fetchrow(
            "select * from rollcall.dead_letters where payload = $1", b"{broken 7"
        )
        assert (row["kind"], row["topic"], row["qos"], row["truncated"]) == (
            "json",
            "devices/d7/telemetry",
            1,
            False,
        )


async def test_an_oversized_message_is_kept_by_its_head_and_stops_nobody(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", b"x" * (2 << 20))
        await service.publish("devices/d1/telemetry", '{"battery": 2}')
        await service.sees(BATTERY, 2, "d1")
        row = await service.pool.fetchrow("select kind, truncated from rollcall.dead_letters")
        assert tuple(row) == ("oversized", True)


async def test_an_integration_is_added_changed_and_disabled_without_a_restart(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration()
        await service.connected(integration, within_s=2)
        topics = """'{"topics": {"telemetry": "plant/{device_id}/up"}}'"""
        await service.pool.execute(f"update device_integrations set settings = settings || {topics}")
        query = "select count(*) from rollcall.mqtt_sessions where subscriptions::text like '%plant/%'"
        await service.sees(query, 1, within_s=3)
        await service.publish("plant/p1/up", '{"battery": 3}')
        await service.sees(BATTERY, 3, "p1")
        await service.pool.execute("update device_integrations set status = 'inactive'")
        lease = "select count(*) from rollcall.leases where name like 'mqtt/%'"
        await service.sees(lease, 0, within_s=2)


async def test_one_unreachable_broker_leaves_the_others_alone(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.add_integration("dead", port=1)
        await service.connected(await service.add_integration("alive"))
        await service.publish("devices/d1/telemetry", '{"battery": 4}')
        await service.sees(BATTERY, 4, "d1")


@pytest.mark.parametrize("settings", ["[]", "null", '"x"', "5", f'{{"a": {"[" * 1_100}{"]" * 1_100}}}'])
async def test_settings_that_are_no_object_cost_their_own_integration_alone(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture, settings: str
) -> None:
    async with running(database, mosquitto) as service:
        bad = await service.add_integration("bad")
        await service.connected(bad)
        await service.pool.execute("update device_integrations set settings = $1", settings)
        await service.connected(await service.add_integration("good"))
        await service.publish("devices/d1/telemetry", '{"battery": 4}')
        await service.sees(BATTERY, 4, "d1")
        held = f"select count(*) from rollcall.leases where name like 'mqtt/%{bad}%'"
        await service.sees(held, 0)
    assert "integration 'bad': its settings are not a JSON object" in caplog.text


async def test_an_error_that_nobody_expected_in_one_integration_leaves_the_others_alone(
    database: str,
    mosquitto: MosquittoServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Planner.plan

    def broken(planner: Planner, row: IntegrationRow) -> SessionPlan:
        if row.name == "bad":
            raise KeyError("hunter2")
        return plan(planner, row)

    monkeypatch.setattr(Planner, "plan", broken)
    async with running(database, mosquitto) as service:
        await service.add_integration("bad")
        await service.connected(await service.add_integration("good"))
    assert "integration 'bad': an error in Rollcall: KeyError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_revoked_grant_is_an_outage_and_not_a_dead_letter(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", '{"battery": 1}')
        await service.sees(BATTERY, 1, "d1")
        await service.pool.execute("alter table rollcall.device_state rename to hidden")
        await service.publish("devices/d1/telemetry", '{"battery": 2}')
        await asyncio.sleep(1)
        assert await service.pool.fetchval(DEAD) == 0
        assert await service.pool.fetchval(BATTERY, "d1") == 1
        await service.pool.execute("alter table rollcall.hidden rename to device_state")
        await service.sees(BATTERY, 2, "d1", within_s=15)
        assert await service.pool.fetchval(DEAD) == 0


async def test_a_read_only_database_is_an_outage_and_everything_continues_by_itself(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", '{"battery": 1}')
        await service.sees(BATTERY, 1, "d1")
        await _set_read_only(service, True)
        await service.publish("devices/d1/telemetry", '{"battery": 2}')
        await asyncio.sleep(1)
        assert await service.pool.fetchval(BATTERY, "d1") == 1
        await _set_read_only(service, False)
        await service.sees(BATTERY, 2, "d1", within_s=15)
        assert await service.pool.fetchval(DEAD) == 0


async def test_what_the_database_refuses_is_buried_alone(database: str, mosquitto: MosquittoServer) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.pool.execute(
            "alter table devices add constraint odd check (battery_level <> 13) not valid"
        )
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for n in range(10, 17):
                await client.publish(f"devices/d{n}/telemetry", b'{"battery": %d}' % n, qos=1)
        await service.sees(DEAD, 1)
        await service.sees("select count(*) from devices where battery_level between 10 and 16", 6)
        row = await service.pool.fetchrow("select kind, payload from rollcall.dead_letters")
        assert tuple(row) == ("refused.23514", b'{"battery": 13}')


async def test_where_the_dead_letter_is_refused_too_nothing_is_acknowledged_until_it_can_be_kept(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    odd = "alter table rollcall.dead_letters add constraint odd check (received_at is null) not valid"
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.pool.execute(odd)
        await service.publish("devices/d1/telemetry", "no JSON")
        await service.publish("devices/d1/telemetry", '{"battery": 7}')
        await until(lambda: "a dead letter is refused" in caplog.text, 15, "the refusal is in the log")
        ready = await service.ready()
        assert (ready.status_code, "a dead letter is refused" in ready.text) == (503, True)
        assert await service.pool.fetchval(DEAD) == 0
        await service.pool.execute("alter table rollcall.dead_letters drop constraint odd")
        await service.sees(DEAD, 1, within_s=15)
        await service.sees(BATTERY, 7, "d1", within_s=15)
        assert bytes(await service.pool.fetchval("select payload from rollcall.dead_letters")) == b"no JSON"


async def test_parked_evidence_is_applied_when_the_device_appears(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(unknown_devices="park")
        await service.connected(integration)
        for level in (1, 2):
            await service.publish("devices/d1/telemetry", f'{{"battery": {level}}}')
        await service.sees("select (evidence -> 'battery' ->> 1)::int from rollcall.parked_devices", 2)
        assert await service.pool.fetchval("select count(*) from devices") == 0
        await service.pool.execute(
            "insert into devices (organization_id, integration_id, external_device_id, name, device_type)"
            " select organization_id, id, 'd1', 'd1', 'sensor' from device_integrations"
        )
        await service.sees(BATTERY, 2, "d1", within_s=12)
        assert await service.pool.fetchval("select count(*) from rollcall.parked_devices") == 0


async def test_a_flood_of_invented_ids_creates_no_more_than_the_caps(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        caps = {"policy": "create", "max_total": 20, "max_parked": 30}
        await service.connected(await service.add_integration(unknown_devices=caps))
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for n in range(500):
                await client.publish(f"devices/invented{n}/telemetry", "{}", qos=1)
        await service.sees("select count(*) from rollcall.parked_devices", 30)
        assert await service.pool.fetchval("select count(*) from devices") == 20


async def test_a_device_that_the_platform_deletes_is_met_anew(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", '{"battery": 1}')
        await service.sees(BATTERY, 1, "d1")
        await service.pool.execute("delete from devices")
        await service.publish("devices/d1/telemetry", '{"battery": 2}')
        await service.sees(BATTERY, 2, "d1")


async def test_an_outage_of_the_broker_makes_nobody_silent(database: str, mosquitto: MosquittoServer) -> None:
    async with running(database, mosquitto, offline_after_s=10) as service:
        await service.connected(await service.add_integration())
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees(STATUS, "online", "d1")
        mosquitto.kill9()
        await asyncio.sleep(12)
        assert await service.pool.fetchval(STATUS, "d1") == "online"


async def test_a_client_id_that_is_changed_leaves_no_session_behind_and_what_waited_in_it_counts(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration(offline_after_s=10))
        await service.publish("devices/d1/telemetry", '{"battery": 1}')
        await service.sees(BATTERY, 1, "d1")
        pool = service.pool
        await pool.execute("update device_integrations set status = 'inactive'")
        await asyncio.sleep(1)
        await service.publish("devices/d1/telemetry", '{"battery": 2}')
        change = """update device_integrations set status = 'active', settings = settings || '{"client_id": "anew"}'"""
        await pool.execute(change)
        await service.sees(BATTERY, 2, "d1", within_s=15)
        await service.sees(
            "select string_agg(client_id, ' ') ~ '^anew-[^ ]+$' from rollcall.mqtt_sessions", True
        )
        await service.sees(STATUS, "offline", "d1", within_s=25)


async def test_an_integration_that_is_disabled_while_the_database_is_away_holds_up_no_other(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, max_batch=500) as service:
        await service.connected(await service.add_integration())
        await _set_read_only(service, True)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, max_concurrent_outgoing_calls=500) as client:
            await asyncio.gather(
                *(client.publish(f"devices/d{n}/telemetry", b"{}", qos=1) for n in range(3_000))
            )
        person = await asyncpg.connect(database, server_settings={"default_transaction_read_only": "off"})
        await person.execute("update device_integrations set status = 'inactive'")
        await asyncio.sleep(1)
        await person.close()
        await _set_read_only(service, False)
        await service.connected(await service.add_integration("other"), within_s=15)


async def _set_read_only(service: Service, read_only: bool) -> None:
    """As a failover does: new transactions are read-only, and the old connections are cut."""
    connection = await service.pool.acquire()
    try:
        name = await connection.fetchval("select current_database()")
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute(f"alter database {name} set default_transaction_read_only = {read_only}")
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'rollcall'"
        )
    except asyncpg.PostgresError as error:
        raise AssertionError(str(error)) from error
    finally:
        await service.pool.release(connection)
