"""How a JetStream source is shown to the person on call: it has no lease that would say whether somebody reads it."""

from handlers.events import SECOND
from ingest.mqtt.clock import StrictClock
from ingest.store.health import HealthRows
from tests.http_client import http_client
from tests.ingest.jetstream.conftest import visited
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.nats import NatsServer


async def test_what_is_read_is_connected_and_what_nobody_has_heard_for_a_minute_is_unheld(
    database: str, mosquitto: MosquittoServer, nats: NatsServer
) -> None:
    await visited(nats)
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(protocol="jetstream", nats={"servers": [nats.address]})
        await service.connected(integration)
        async with http_client(base_url=service.url) as client:
            (told,) = (await client.get("/readyz")).json()["sessions"]
            assert 'state="connected"' in (await client.get("/metrics")).text
        assert told["state"] == "connected"
    async with running(database, None) as service:
        rows, session = HealthRows(service.pool), [(integration, told["clientId"])]
        for age_s, state in ((30, "connected"), (90, "unheld")):
            heard_until = StrictClock()() - age_s * SECOND
            await service.pool.execute("update rollcall.mqtt_sessions set heard_until = $1", heard_until)
            assert [one.state for one in (await rows.read(session)).sessions] == [state]
        draining = await rows.read(session, [integration])
        assert [one.state for one in draining.sessions] == ["connected"]
