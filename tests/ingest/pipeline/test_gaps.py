"""A session that the broker has lost: the timeline says from when on messages may be missing, once and in any case."""

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

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
