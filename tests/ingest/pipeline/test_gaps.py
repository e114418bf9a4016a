"""A session that the broker has lost: the timeline says from when on messages may be missing, once and in any case."""

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from handlers.events import MIN_AT
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer

GAPS = "select count(*) from rollcall.device_events where kind = 'gap'"
HEARD = "select count(*) from rollcall.mqtt_sessions where heard_until > heard_since"


async def begin(mosquitto: MosquittoServer, identifier: str, *, anew: bool) -> None:
    """Connect with a client id and go without having subscribed; the session stays where it is not begun `anew`."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0 if anew else 3_600
    async with aiomqtt.Client(
        "127.0.0.1", mosquitto.port, identifier=identifier, clean_start=anew,
        protocol=aiomqtt.ProtocolVersion.V5, properties=properties,
    ):  # fmt: skip
        pass


async def heard_once(database: str, mosquitto: MosquittoServer) -> str:
    """Run a service until it has heard its marker; return its client id."""
    async with running(database, mosquitto) as service:
        await service.add_integration()
        await service.sees(HEARD, 1)
        return str(await service.pool.fetchval("select client_id from rollcall.mqtt_sessions"))


async def test_a_lost_session_is_a_gap(database: str, mosquitto: MosquittoServer) -> None:
    ours = await heard_once(database, mosquitto)
    await begin(mosquitto, ours, anew=True)
    async with running(database, mosquitto) as service:
        await service.sees(GAPS, 1)
        await _connected_again(service)
        assert await service.pool.fetchval(GAPS) == 1


async def test_a_lost_session_whose_next_one_was_begun_by_a_process_that_died_is_a_gap(
    database: str, mosquitto: MosquittoServer
) -> None:
    ours = await heard_once(database, mosquitto)
    await begin(mosquitto, ours, anew=True)
    await begin(mosquitto, ours, anew=False)
    async with running(database, mosquitto) as service:
        await service.sees(GAPS, 1)
        await _connected_again(service)
    async with running(database, mosquitto) as service:
        await _connected_again(service)
        assert await service.pool.fetchval(GAPS) == 1


async def test_a_session_that_is_there_is_no_gap(database: str, mosquitto: MosquittoServer) -> None:
    await heard_once(database, mosquitto)
    async with running(database, mosquitto) as service:
        await _connected_again(service)
        assert await service.pool.fetchval(GAPS) == 0


async def _connected_again(service: Service) -> None:
    """Publish and see it: whatever is told of a connection is told before."""
    await service.publish("devices/d1/telemetry", '{"battery": 5}')
    await service.sees("select count(*) from devices where battery_level = 5", 1)
    await service.sees("select count(*) from rollcall.mqtt_sessions where state = 'connected'", 1)
    await service.pool.execute("delete from devices")


SNAPSHOT = """
select s.snapshot_offline_at from rollcall.device_state s join devices d on d.id = s.device_id
where d.external_device_id = $1"""


async def test_a_retained_offline_read_after_a_lost_session_is_no_newer_than_the_beginning_of_the_gap(
    database: str, mosquitto: MosquittoServer
) -> None:
    ours = await heard_once(database, mosquitto)
    async with running(database, mosquitto) as service:
        await _connected_again(service)
        for device in ("d1", "d2"):
            await service.publish(f"devices/{device}/telemetry", "{}")
        await service.sees("select count(*) from devices where status = 'online'", 2)
        began = await service.pool.fetchval("select max(online_at) from rollcall.device_state")
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > $1", 1, began)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        await device.publish("devices/d1/connection", "offline", qos=1, retain=True)
    await begin(mosquitto, ours, anew=True)
    async with running(database, mosquitto, mqtt="off") as service:
        heard_until = await service.pool.fetchval("select heard_until from rollcall.mqtt_sessions")
    async with running(database, mosquitto) as service:
        await service.sees(SNAPSHOT, heard_until, "d1")
        assert await service.pool.fetchval("select gap_since from rollcall.mqtt_sessions") == heard_until


async def test_a_retained_offline_read_by_a_first_session_is_older_than_any_evidence(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.publish("devices/d1/connection", "offline", retain=True)
        await service.connected(await service.add_integration())
        await service.sees(SNAPSHOT, MIN_AT, "d1")
        await service.publish("devices/d1/telemetry", "{}")
        await service.sees("select status::text from devices", "online")
        await service.pool.execute(
            """update device_integrations set settings = settings || '{"client_id": "anew"}'"""
        )
        await service.sees("select count(*) from rollcall.mqtt_sessions where client_id like 'anew%'", 1)
        await service.sees(
            "select count(*) from rollcall.mqtt_sessions where client_id like 'rollcall%'", 0, within_s=30
        )
        assert await service.pool.fetchval("select status::text from devices") == "online"
