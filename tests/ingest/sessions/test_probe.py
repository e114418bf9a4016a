"""The test of an mqtt integration: it logs in and sees its own marker, or it is no success."""

import asyncio
import socket
from typing import Any
from uuid import UUID

import httpx
import pytest

from ingest.cli import main
from ingest.store.people import tokens
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.started import started


async def _tested(service: Service, integration: UUID) -> dict[str, Any]:
    organization = await service.pool.fetchval(
        "select organization_id from device_integrations where id = $1", integration
    )
    async with service.pool.acquire() as connection:
        _, token = await tokens.create(connection, organization, "t", ["read", "operate"], None)
    async with http_client() as client:
        url = f"{service.url}/api/integrations/{integration}/test"
        answer: httpx.Response = await client.post(
            url, headers={"authorization": f"Bearer {token}"}, timeout=25
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_a_broker_that_takes_us_is_ok(database: str, mosquitto: MosquittoServer, protocol: str) -> None:
    async with running(database, mosquitto) as service:
        found = await _tested(service, await service.add_integration(protocol=protocol))
        assert found["ok"] is True, found
        assert "marker: came back" in found["detail"]


async def test_a_closed_port_is_not_ok(database: str, mosquitto: MosquittoServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with running(database, mosquitto) as service:
            found = await _tested(service, await service.add_integration(port=closed.getsockname()[1]))
    assert found["ok"] is False
    assert "cannot be reached" in found["detail"]


async def test_a_port_that_speaks_no_mqtt_is_not_ok(database: str, mosquitto: MosquittoServer) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nsecrets of somebody's")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with running(database, mosquitto) as service:
        port = server.sockets[0].getsockname()[1]
        found = await _tested(service, await service.add_integration(port=port))
    server.close()
    assert found["ok"] is False
    assert "secrets" not in found["detail"]


@pytest.mark.parametrize(
    "acl",
    ["topic read #", "topic write #", "topic readwrite devices/#"],
    ids=["no writing", "no reading", "ours"],
)
async def test_a_broker_that_gives_no_marker_back_is_not_ok(database: str, tmp_path: Any, acl: str) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"{acl}\n")
    rules.chmod(0o644)
    with started(MosquittoServer(f"acl_file {rules}")) as broker:
        async with running(database, broker) as service:
            found = await _tested(service, await service.add_integration())
    assert found["ok"] is False
    assert "logged in" in found["detail"]


async def test_a_wrong_password_is_not_ok(database: str, tmp_path: Any) -> None:
    users = tmp_path / "users"
    users.write_text("")
    users.chmod(0o644)
    with started(MosquittoServer(f"password_file {users}")) as broker:
        async with running(database, broker) as service:
            found = await _tested(service, await service.add_integration(username="u", password="p"))
    assert found["ok"] is False
    assert "refused" in found["detail"]


def test_the_command_sees_the_marker_too(
    database: str,
    mosquitto: MosquittoServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", database)

    def run(*arguments: str) -> int | str | None:
        monkeypatch.setattr("sys.argv", ["rollcall", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0

    add = ("integration", "add", "m", "--organization", "o", "--port", str(mosquitto.port))
    assert run(*add) == 0
    assert run("integration", "test", "m") == 0
    assert "came back" in capsys.readouterr().out
