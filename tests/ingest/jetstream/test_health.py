"""How a JetStream source is shown to the person on call: it has no lease that would say whether somebody reads it."""

import pytest

from handlers.events import SECOND
from ingest.clock import StrictClock
from ingest.store.people.health import HealthRows
from tests.http_client import http_client
from tests.ingest.jetstream.conftest import visited
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.nats import NatsServer

REFUSED = """create sequence refused;
create function refuse() returns trigger language plpgsql as
    $$ begin perform nextval('refused'); raise 'not now'; end $$;
create trigger refuse before update of heard_until on rollcall.mqtt_sessions
    for each row execute function refuse()"""


async def test_what_is_read_is_connected_and_what_nobody_has_heard_for_a_minute_is_unheld(
    database: str, mosquitto: MosquittoServer, nats: NatsServer
) -> None:
    await visited(nats)
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(protocol="jetstream", nats={"servers": [nats.address]})
        await service.connected(integration)
        async with http_client(base_url=service.url) as client:
            (told,) = (await service.ready()).json()["sessions"]
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


async def test_that_it_cannot_tell_how_far_it_has_heard_is_said_once_until_it_can(
    database: str, mosquitto: MosquittoServer, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    await visited(nats)
    async with running(database, mosquitto, marker_interval_s=0.1) as service:
        await service.connected(
            await service.add_integration(protocol="jetstream", nats={"servers": [nats.address]})
        )
        heard = "select heard_until > $1 from rollcall.mqtt_sessions"
        await service.pool.execute(REFUSED)
        for times in (1, 2):
            tried = await service.pool.fetchval("select last_value from refused")
            await service.sees("select last_value > $1 from refused", True, tried + 2)
            assert caplog.text.count("integration m: how far it has heard cannot be told: P0001") == times
            await service.pool.execute("alter table rollcall.mqtt_sessions disable trigger refuse")
            await service.sees(heard, True, StrictClock()())
            await service.pool.execute("alter table rollcall.mqtt_sessions enable trigger refuse")
        await service.pool.execute("drop trigger refuse on rollcall.mqtt_sessions")


async def test_certificates_that_are_not_there_are_named_and_it_is_refused(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.add_integration(protocol="jetstream", tls={"ca_file": "/nowhere.pem"})
        told = "select state from rollcall.mqtt_sessions where detail like 'tls ca_file /nowhere.pem: %'"
        await service.sees(told, "refused")
