"""The slots of one process: what each reads, what the broker can do, who else uses a client id."""

import asyncio

import aiomqtt
import orjson
import pytest

from handlers.events import SECOND
from ingest.clock import StrictClock
from ingest.mqtt.port import Broker, Connected, Granted
from ingest.sessions.shared_probe import why_unshareable
from ingest.store.commit.sessions import Sessions
from ingest.store.commit.silences import Silences
from ingest.store.people.health import HealthRows
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scripted import read_packet, scripted_server

CONNECTED = "select count(*) from rollcall.mqtt_sessions where state = 'connected'"
BROUGHT = """
select array_agg(n order by client_id) from (
    select s.client_id, coalesce(sum(length(d.digests)), 0) / 10 as n
    from rollcall.mqtt_sessions s left join rollcall.mqtt_digests d on d.session_id = s.id group by s.id) as t"""


async def with_slots(service: Service, slots: int, **settings: object) -> str:
    """Add an integration and wait until its slots are connected; return its id."""
    integration = await service.add_integration(slots=slots, **settings)
    await service.sees(CONNECTED, slots)
    return str(integration)


async def test_retained_connection_messages_come_once_and_only_over_slot_0(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        for n in range(5):
            await service.publish(f"devices/d{n}/connection", "online", retain=True)
        await with_slots(service, 3)
        await service.sees("select count(*) from devices where status = 'online'", 5)
        for n in range(5):
            await service.publish(f"devices/d{n}/connection", "offline")
        await service.sees("select count(*) from devices where status = 'offline'", 5)
        await service.sees(BROUGHT, [10, 0, 0])
        await service.sees("select count(*) from rollcall.device_events where kind = 'offline'", 5)


async def test_telemetry_of_every_qos_comes_once_over_any_slot(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        await with_slots(service, 3)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
            for n in range(300):
                body = orjson.dumps({"battery": n % 100, "n": n, "ts": 1_767_225_600_000 + n})
                await device.publish(f"devices/d{n % 50}/telemetry", body, qos=n // 3 % 3)
        newest = "select sum(value)::int from rollcall.device_readings where name = 'n'"
        await service.sees(newest, sum(range(250, 300)))
        async with http_client(base_url=service.url) as client:
            assert (await service.ready()).json()["slots"] == [
                {"integration": "m", "held": [0, 1, 2], "of": 3}
            ]
            assert 'rollcall_slots_held{integration="m"' in (await client.get("/metrics")).text
        brought = await service.pool.fetchval(BROUGHT)
        assert sum(brought) == 99, "those of QoS 1, each in one session"
        assert min(brought) > 0


async def test_a_session_that_was_taken_over_stops_and_does_not_fight(
    database: str, mosquitto: MosquittoServer
) -> None:
    connections = 0

    async def takes_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept, and say 0x8E once the session is subscribed. Mosquitto 2.0.11 hangs up without a word."""
        nonlocal connections
        connections += 1
        await read_packet(reader)
        writer.write(b"\x20\x03\x00\x00\x00")
        subscribe = await read_packet(reader)
        writer.write(b"\x90\x07" + subscribe[3:5] + b"\x00" + b"\x01" * 4)
        await read_packet(reader)
        writer.write(b"\xe0\x01\x8e")
        await reader.read()

    async with scripted_server(takes_over) as port, running(database, mosquitto, lease_ttl_s=1) as service:
        await service.add_integration(port=port)
        told = "select count(*) from rollcall.mqtt_sessions where state = 'taken over' and detail like '%-0?'"
        await service.sees(told, 1)
        gap = "select detail ->> 'why' from rollcall.device_events where kind = 'gap'"
        assert await service.pool.fetchval(gap) == "the session was taken over"
        renewed = "select count(*) from rollcall.leases where name like 'replica/%' and expires_at > $1"
        for _ in range(5):
            last = await service.pool.fetchval(
                "select max(expires_at) from rollcall.leases where name like 'replica/%'"
            )
            await service.sees(renewed, 1, last)
        assert connections == 1
        assert (
            await service.pool.fetchval("select count(*) from rollcall.leases where name like 'mqtt/%'") == 0
        )


async def test_a_shared_subscription_is_proven_or_refused_in_words(mosquitto: MosquittoServer) -> None:
    for protocol in ("5", "3.1.1"):
        broker = Broker("127.0.0.1", mosquitto.port, "rollcall-0")
        assert await why_unshareable(protocol, broker, StrictClock(), below="rollcall/x") is None


async def test_where_the_proof_is_forbidden_one_slot_reads_everything_and_says_why(database: str) -> None:
    broker = MosquittoServer(users={"rollcall": "r", "device": "d"})
    acl = broker.folder / "acl"
    acl.write_text("user rollcall\ntopic read #\nuser device\ntopic write #\n")
    broker.extra.append(f"acl_file {acl}")
    try:
        broker.start()
        async with running(database, broker, lease_ttl_s=1) as service:
            integration = await service.add_integration(slots=3, username="rollcall", password="r")
            await service.connected(integration)
            async with aiomqtt.Client("127.0.0.1", broker.port, username="device", password="d") as device:
                await device.publish("devices/d/telemetry", b'{"battery": 7}', qos=1)
            await service.sees("select battery_level from devices", 7)
            detail = await service.pool.fetchval("select detail from rollcall.mqtt_sessions")
            assert "one slot of 3" in detail
            assert "refused the publish" in detail
    finally:
        broker.destroy()


async def test_telemetry_that_cannot_be_told_from_connections_is_not_shared(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, mosquitto) as service:
        await service.add_integration("bad", slots=2, topics={"telemetry": "devices/{device_id}/#"})
        await service.connected(await service.add_integration("good"))
    assert "integration 'bad': topics" in caplog.text
    assert "set slots to 1" in caplog.text


async def test_a_slot_that_nobody_holds_stops_the_sweep_and_is_named(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, None) as service:
        service._broker = mosquitto  # the integration is there, and nobody runs it
        integration = await service.add_integration(slots=2)
        sessions, start = Sessions(service.pool), 1_767_225_600 * SECOND
        for slot in range(2):
            client_id = f"rollcall-{integration}-{slot}"
            stored = await sessions.open(integration, client_id)
            granted = [Granted(f"$share/rollcall-{integration}/a", 1, "")]
            await sessions.connected(stored, Connected(False, "5"), granted, start)
        await sessions.lease(f"mqtt/rollcall-{integration}-0", "somebody", 60)
        await service.pool.execute(
            "insert into devices (organization_id, integration_id, external_device_id, name, device_type, status,"
            " last_seen) select organization_id, id, 'd', 'd', 's', 'online', to_timestamp(0) from device_integrations"
        )
        now = start + 3_600 * SECOND
        ids = [(integration, f"rollcall-{integration}-{slot}") for slot in range(2)]
        states = [one.state for one in (await HealthRows(service.pool).read(ids)).sessions]
        assert states == ["connected", "unheld"]
        await sessions.heard(1, now)
        assert await Silences(service.pool).sweep(900 * SECOND, now) == 0
        await sessions.heard(2, now)
        assert await Silences(service.pool).sweep(900 * SECOND, now) == 1


async def test_a_slot_that_is_none_any_more_is_drained_without_loss(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        await with_slots(service, 4)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        for n in range(80):
            await device.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        await service.pool.execute("update device_integrations set settings = settings || '{\"slots\": 1}'")
        await service.sees("select count(*) from devices", 80)
        await service.sees("select count(*) from rollcall.mqtt_sessions", 1, within_s=30)
        before = await service.pool.fetchval(BROUGHT)
        await asyncio.gather(
            *[service.publish(f"devices/e{n}/telemetry", '{"battery": 1}') for n in range(9)]
        )
        await service.sees("select count(*) from devices", 89)
        await service.sees(BROUGHT, [before[0] + 9])
