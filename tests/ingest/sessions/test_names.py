"""Nobody who may log in at the broker takes messages of others away: what names of sessions hold, and who sees it."""

import asyncio
import re
from uuid import UUID

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.integrations import names
from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer

SECRET = "select secret from rollcall.mqtt_names"
GAPS = "select count(*) from rollcall.device_events where kind = 'gap'"
HEARD = "select count(*) from rollcall.mqtt_sessions where heard_until > heard_since"


async def test_the_unguessable_part_is_shown_to_nobody(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "ingest")
    topics: list[str] = []
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
            await device.subscribe("#")
            integration = await service.add_integration(slots=2)
            await service.sees("select count(*) from rollcall.mqtt_sessions where state = 'connected'", 2)
            await service.publish("devices/d1/telemetry", "this is no JSON")
            await service.sees("select count(*) from rollcall.dead_letters", 1)
            async for message in device.messages:
                topics.append(str(message.topic))
                if topics[-1].endswith("/telemetry"):
                    break
        secret = await service.pool.fetchval(SECRET)
        mosquitto.restart()
        await service.sees("select count(*) from rollcall.mqtt_sessions where state = 'connected'", 2)
        async with http_client(base_url=service.url) as client:
            shown = (await client.get("/readyz")).text + (await client.get("/metrics")).text
        letter = await service.pool.fetchval("select session from rollcall.dead_letters")
        details = await service.pool.fetchval("select string_agg(detail, ' ') from rollcall.mqtt_sessions")
        client_ids = await service.pool.fetch("select client_id from rollcall.mqtt_sessions")
    assert f"rollcall-{integration}-0" in shown
    assert re.fullmatch(r"[0-9a-f]{32}", secret)
    assert all(secret in row["client_id"] for row in client_ids)
    group = names.share_group(integration, secret).removeprefix(f"rollcall-{integration}-")
    for text in (shown, letter, details, caplog.text, *topics):
        assert secret not in text
        assert group not in text


async def test_a_filter_that_is_refused_is_told_without_its_group(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Mosquitto refuses no filter; what the service tells goes through one function."""
    integration = UUID(int=7)
    secret = "0123456789abcdef0123456789abcdef"
    told = f"$share/{names.share_group(integration, secret)}/a {names.client_id('p', integration, secret, 3)}"
    assert names.hidden(told, secret) == f"$share/rollcall-{integration}/a p-{integration}-3"


def kept() -> Properties:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3_600
    return properties


async def test_a_session_under_its_former_name_is_drained_and_forgotten(
    database: str, mosquitto: MosquittoServer
) -> None:
    """The names of the release before had no unguessable part."""
    async with running(database, None) as service:
        service._broker = mosquitto
        integration = await service.add_integration()
    former = f"rollcall-{integration}-0"
    marker = f"rollcall/{former}/marker"
    async with running(database, None) as service:
        async with aiomqtt.Client(
            "127.0.0.1", mosquitto.port, identifier=former, clean_start=False,
            protocol=aiomqtt.ProtocolVersion.V5, properties=kept(),
        ) as old:  # fmt: skip
            for one in ("devices/+/telemetry", marker):
                await old.subscribe(one, qos=1)
        await service.pool.execute(
            "insert into rollcall.mqtt_sessions (integration_id, client_id, heard_since, heard_until, subscriptions)"
            " values ($1, $2, 1, (extract(epoch from now()) * 1e6)::bigint, $3::text::jsonb)",
            integration,
            former,
            f'[{{"filter": "devices/+/telemetry", "qos": 1}}, {{"filter": "{marker}", "qos": 1}}]',
        )
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        for n in range(50):
            await device.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        await service.sees("select count(*) from devices where battery_level = 1", 50)
        await service.sees("select array_agg(client_id = $1) from rollcall.mqtt_sessions", [False], former)
        assert await service.pool.fetchval(GAPS) == 0


async def test_while_a_replica_of_before_reads_under_the_former_name_nobody_reads_beside_it(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, lease_ttl_s=1, mqtt="off") as service:
        integration = await service.add_integration()
        former = f"rollcall-{integration}-0"
        await service.pool.execute(
            "insert into rollcall.mqtt_sessions (integration_id, client_id) values ($1, $2)",
            integration,
            former,
        )
        await service.pool.execute(
            "insert into rollcall.leases values ($1, 'a replica of before', now() + interval '1 hour')",
            f"mqtt/{former}",
        )
        async with running(database, mosquitto, lease_ttl_s=1) as newer:
            living = "select count(*) from rollcall.leases where name like 'replica/%' and expires_at > $1"
            await newer.sees("select count(*) from rollcall.leases where name like 'replica/%'", 1)
            for _ in range(3):
                last = await newer.pool.fetchval(
                    "select max(expires_at) from rollcall.leases where name like 'replica/%'"
                )
                await newer.sees(living, 1, last)
            assert await newer.pool.fetchval("select count(*) from rollcall.mqtt_sessions") == 1
            await newer.pool.execute("delete from rollcall.leases where holder = 'a replica of before'")
            await newer.sees("select array_agg(client_id = $1) from rollcall.mqtt_sessions", [False], former)


async def test_who_joins_the_group_that_can_be_guessed_takes_nothing(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, lease_ttl_s=1) as service:
        integration = await service.add_integration(slots=2)
        await service.sees("select count(*) from rollcall.mqtt_sessions where state = 'connected'", 2)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as thief:
            await thief.subscribe(f"$share/rollcall-{integration}/devices/+/telemetry", qos=1)
            async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
                for n in range(60):
                    await device.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)
            await service.sees("select count(*) from devices where battery_level = 1", 60)


async def test_who_connects_under_the_name_that_can_be_guessed_takes_nothing(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration()
        await service.sees(HEARD, 1)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        for n in range(60):
            await device.publish(f"devices/d{n}/telemetry", b'{"battery": 1}', qos=1)
    async with aiomqtt.Client(
        "127.0.0.1", mosquitto.port, identifier=f"rollcall-{integration}-0", clean_start=True,
        protocol=aiomqtt.ProtocolVersion.V5,
    ):  # fmt: skip
        await asyncio.sleep(0)
    async with running(database, mosquitto) as service:
        await service.sees("select count(*) from devices where battery_level = 1", 60)
        assert await service.pool.fetchval(GAPS) == 0
