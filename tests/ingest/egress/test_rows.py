"""Rows that lead to loopback: those of the operator do, those of others do not, and files are read from one folder."""

import base64
import os
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from ingest.store.people import integrations, organizations, tokens
from ingest.store.people.session import session
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer

WHY = "select detail from rollcall.mqtt_sessions where integration_id = $1"
STATE = "select state from rollcall.mqtt_sessions where integration_id = $1"
ONLINE = "select count(*) from public.devices where integration_id = $1 and status = 'online'"


async def _by_operator(database: str, name: str, settings: dict[str, Any]) -> UUID:
    identifier = uuid4()
    async with session(database) as connection, connection.transaction():
        organization = await organizations.ensure(connection, name)
        await integrations.save(connection, identifier, organization, name, settings, replace=False)
    return identifier


async def _refused(service: Service, integration: UUID) -> None:
    await service.sees(STATE, "refused", integration)
    assert "ROLLCALL_PRIVATE_NETWORKS" in await service.pool.fetchval(WHY, integration)


async def test_a_broker_on_loopback_is_not_met_for_a_row_that_the_operator_did_not_make(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, private_networks="") as service:
        await _refused(service, await service.add_integration())


async def test_the_operators_row_leads_to_loopback_until_somebody_else_changes_its_address(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto, private_networks="") as service:
        wanted = {"host": "127.0.0.1", "port": mosquitto.port, "protocol": "5"}
        integration = await _by_operator(database, "own", wanted)
        await service.connected(integration)
        await service.pool.execute(
            "update device_integrations set settings = settings || $2 where id = $1",
            integration,
            orjson.dumps({"topics": {"telemetry": "other/{device_id}"}}).decode(),
        )
        await service.sees(
            "select count(*) from rollcall.mqtt_sessions where integration_id = $1 and state = 'connected'"
            " and subscriptions::text like '%other/%'",
            1,
            integration,
        )
        await service.pool.execute(
            "update device_integrations set settings = settings || $2 where id = $1",
            integration,
            orjson.dumps({"host": "localhost"}).decode(),
        )
        await _refused(service, integration)


async def test_no_api_user_marks_a_row_as_the_operators(database: str, pool: asyncpg.Pool) -> None:
    rights = (
        "select has_table_privilege('rollcall_api', 'rollcall.operator_addresses', 'select, insert, update')"
    )
    assert await pool.fetchval(rights) is False


async def test_a_file_that_is_none_stops_nobody_else(
    database: str, mosquitto: MosquittoServer, tmp_path: Path
) -> None:
    """A device file, a FIFO, another tenant's folder, a link out of the folder, one without an end."""
    folder, outside = tmp_path / "files", tmp_path / "outside.pem"
    (folder / "sub").mkdir(parents=True)
    outside.write_text("-----BEGIN CERTIFICATE-----")
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(outside)
    (folder / "large").write_bytes(b"x" * (1 << 21))
    bad = [
        "/dev/zero",
        "/dev/tty",
        "fifo",
        str(folder / "fifo"),
        "link",
        "../outside.pem",
        "large",
        "sub",
        "none",
    ]
    async with running(database, mosquitto, files=str(folder)) as service:
        rows = [
            await service.add_integration(f"bad{number}", tls={"ca_file": name})
            for number, name in enumerate(bad)
        ]
        rows += [
            await service.add_integration(f"nats{number}", protocol="jetstream", tls={"ca_file": name})
            for number, name in enumerate(bad)
        ]
        good = await service.add_integration("good")
        await service.connected(good)
        await service.publish("devices/d1/telemetry", b'{"battery": 50}')
        await service.sees(ONLINE, 1, good)
        for row in rows:
            await service.sees(STATE, "refused", row, within_s=30)
            assert "tls ca_file" in await service.pool.fetchval(WHY, row)


@pytest.mark.parametrize("name", ["/etc/hostname", "server.pem"])
async def test_without_the_operators_folder_no_file_counts(
    database: str, mosquitto: MosquittoServer, name: str
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(tls={"ca_file": name})
        await service.sees(STATE, "refused", integration)
        assert "ROLLCALL_FILES" in await service.pool.fetchval(WHY, integration)


async def test_certificates_in_the_clear_are_encrypted_where_they_stand(
    database: str, mosquitto: MosquittoServer
) -> None:
    keys = "k1:" + base64.b64encode(b"1" * 32).decode()
    async with running(database, mosquitto, keys=keys) as service:
        integration = await service.add_integration(
            tls={"ca": "x", "key": "clear key", "cert": "clear"}, nats={"creds": "clear creds"}
        )
        clear = "select count(*) from device_integrations where id = $1 and settings::text like '%clear%'"
        await service.sees(clear, 0, integration)
        await service.sees(
            "select settings #>> '{tls,key}' like 'rc1:k1:%' from device_integrations where id = $1",
            True,
            integration,
        )


async def test_certificates_that_the_api_is_given_are_stored_encrypted(database: str) -> None:
    keys = "k1:" + base64.b64encode(b"1" * 32).decode()
    texts = {
        "tls": {"ca": "clear", "cert": "clear", "key": "clear"},
        "nats": {"creds": "clear", "nkey": "clear"},
    }
    async with running(database, None, keys=keys) as service:
        organization = await service.pool.fetchval(
            "insert into organizations (name, slug) values ('o', 'o') returning id"
        )
        async with service.pool.acquire() as connection:
            _, token = await tokens.create(connection, organization, "t", ["read", "admin"], None)
        async with http_client(base_url=service.url, headers={"authorization": f"Bearer {token}"}) as client:
            body = {"integrationType": "mqtt", "name": "m", "settings": {"host": "broker.example", **texts}}
            answer = await client.post("/api/integrations", json=body)
        assert answer.status_code == 201, answer.text
        stored = orjson.loads(await service.pool.fetchval("select settings from device_integrations"))
        sealed = [*stored["tls"].values(), *stored["nats"].values()]
        assert [text[:7] for text in sealed] == ["rc1:k1:"] * 5
        marked = "select count(*) from rollcall.operator_addresses"
        assert await service.pool.fetchval(marked) == 0
