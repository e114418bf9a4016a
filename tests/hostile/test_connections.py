"""A flood of connections, heads of every form, and upgrades: others are served, and no body is lost."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator

import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running

EVENT = b'{"device_id":"d1","battery":7}'
OPEN = {"webhook": {"auth": "none"}}
SECRET = "s" * 20
PROVEN = {"webhook": {"auth": "header", "secret": SECRET}}
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None, http_connections=60, http_connections_each=30) as there:
        yield there


@contextlib.asynccontextmanager
async def sockets(service: Service) -> AsyncIterator["Sockets"]:
    opened = Sockets(int(service.url.rsplit(":", 1)[1]))
    try:
        yield opened
    finally:
        for _, writer in opened.streams:
            writer.transport.abort()


class Sockets:
    """Connections by hand, from any address of loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: list[Stream] = []

    async def open(self, address: str = "127.0.0.1", count: int = 1) -> list[Stream]:
        made = [
            await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
            for _ in range(count)
        ]
        self.streams += made
        return made


async def ask(stream: Stream, request: bytes) -> bytes:
    """Send a request and return the first line of the answer; nothing where the connection was cut."""
    reader, writer = stream
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.readline()
    return b""


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def post(integration: object, body: bytes, *lines: bytes) -> bytes:
    head = [b"POST /webhooks/%b HTTP/1.1" % str(integration).encode(), b"host: x", *lines]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
async def test_idle_sockets_of_one_address_shut_nobody_out(service: Service, address: str) -> None:
    async with sockets(service) as opened:
        await opened.open("127.0.0.1", 80)
        (stream,) = await opened.open(address)
        assert await ask(stream, HEALTH) == b"HTTP/1.1 200 OK\r\n"
        async with http_client() as client:
            metrics = (await client.get(f"{service.url}/metrics")).text
        dropped = re.search(r"^rollcall_http_dropped_total (\S+)$", metrics, re.MULTILINE)
        assert dropped is not None
        assert float(dropped[1]) >= 50


async def test_idle_sockets_of_many_addresses_shut_nobody_out_and_are_cut_early(service: Service) -> None:
    async with sockets(service) as opened:
        for number in range(1, 9):
            await opened.open(f"127.0.1.{number}", 25)
        (stream,) = await opened.open("127.0.0.2")
        assert await ask(stream, HEALTH) == b"HTTP/1.1 200 OK\r\n"
        began = time.monotonic()
        idle = opened.streams[0]
        assert await asyncio.wait_for(idle[0].read(), 12) == b""
        assert time.monotonic() - began < 9


async def test_a_connection_that_proved_itself_is_not_dropped_for_a_flood(service: Service) -> None:
    integration = await service.add_webhooks(**PROVEN)
    secret = b"x-webhook-secret: " + SECRET.encode()
    async with sockets(service) as opened:
        (known,) = await opened.open("127.0.0.2")
        assert await ask(known, post(integration, EVENT, secret)) == b"HTTP/1.1 200 OK\r\n"
        for number in range(1, 7):
            await opened.open(f"127.0.1.{number}", 30)
        await opened.open("127.0.0.2", 40)
        reader, writer = known
        while (await reader.readline()).strip():
            pass
        writer.write(post(integration, EVENT, secret))
        async with asyncio.timeout(5):
            await reader.readuntil(b"HTTP/1.1 200 OK\r\n")


async def test_room_comes_back_when_connections_end(service: Service) -> None:
    async with sockets(service) as opened:
        for _ in range(5):
            streams = await opened.open("127.0.0.1", 30)
            for _, writer in streams:
                writer.close()
        (stream,) = await opened.open()
        assert await ask(stream, HEALTH) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("split", [0, 1, 20_000])
async def test_a_head_is_refused_by_its_size_however_it_comes(service: Service, split: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\na: " + b"x" * 40_000 + b"\r\n\r\n"
    async with sockets(service) as opened:
        (stream,) = await opened.open()
        stream[1].write(head[:split])
        assert await ask(stream, head[split:]) == b"HTTP/1.1 400 Bad Request\r\n"
        (stream,) = await opened.open()
        many = b"".join(b"a%d: b\r\n" % number for number in range(5_000))
        line = await ask(stream, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + many + b"\r\n")
        assert line == b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize(
    "hosts, status",
    [
        ("", 400),
        ("host: a\r\nhost: b\r\n", 400),
        ("host: a\r\nHOST: a\r\n", 400),
        ("host: a\r\n", 200),
        ("Host: \r\n", 200),
    ],
)
async def test_a_request_has_one_host(service: Service, hosts: str, status: int) -> None:
    async with sockets(service) as opened:
        (stream,) = await opened.open()
        line = await ask(stream, f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
        assert int(line.split()[1]) == status
        if not hosts:  # HTTP/1.0 knows of none
            (stream,) = await opened.open()
            assert b" 200 " in await ask(stream, b"GET /healthz HTTP/1.0\r\n\r\n")


UPGRADES = {
    "h2c": [
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    ],
    "websocket": [b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"],
    "unknown": [b"connection: upgrade", b"upgrade: TLS/1.2, h2c"],
}


@pytest.mark.parametrize("cut", ["whole", "after the head", "in the head", "byte by byte"])
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_that_is_not_taken_loses_no_body(service: Service, upgrade: str, cut: str) -> None:
    """Clients such as curl --http2 and Java's HttpClient ask for h2c with every request. Source: RFC 9110, 7.8."""
    integration = await service.add_webhooks(**OPEN)
    request = post(integration, EVENT, *UPGRADES[upgrade])
    at = {"whole": len(request), "after the head": len(request) - len(EVENT), "in the head": 60}.get(cut)
    pieces = [request[:at], request[at:]] if at else [request[n : n + 1] for n in range(len(request))]
    async with sockets(service) as opened:
        ((reader, writer),) = await opened.open()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            assert b'"applied"' in await reader.readuntil(b"}]}")
            # the connection goes on, and a request behind it is its own
            writer.write(HEALTH + post(integration, EVENT, *UPGRADES[upgrade]) + HEALTH)
            for _ in range(3):
                await reader.readuntil(b"HTTP/1.1 200 OK\r\n")
    assert await service.pool.fetchval("select battery_level from devices") == 7


async def test_an_upgrade_with_chunks_loses_none(service: Service) -> None:
    integration = await service.add_webhooks(**OPEN)
    head = [b"POST /webhooks/%b HTTP/1.1" % str(integration).encode(), b"host: x", *UPGRADES["h2c"]]
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT)
    async with sockets(service) as opened:
        (stream,) = await opened.open()
        request = b"\r\n".join([*head, b"transfer-encoding: chunked", b"", chunk])
        assert await ask(stream, request) == b"HTTP/1.1 200 OK\r\n"


async def test_connect_is_refused(service: Service) -> None:
    async with sockets(service) as opened:
        (stream,) = await opened.open()
        assert b" 400 " in await ask(stream, b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n")


async def test_one_trailing_slash_is_accepted(service: Service) -> None:
    integration = await service.add_webhooks(**OPEN)
    async with http_client(base_url=service.url) as client:
        assert (await client.post(f"/webhooks/{integration}/", content=EVENT)).status_code == 200
        named = {"x-integration-id": str(integration)}
        assert (await client.post("/webhooks/", content=EVENT, headers=named)).status_code == 200
        assert (await client.get("/healthz/")).status_code == 200
        assert (await client.get("/api/devices/")).status_code == 401
        assert (await client.post(f"/webhooks/{integration}//", content=EVENT)).status_code == 404
        assert (await client.post(f"/webhooks/{integration}%2F", content=EVENT)).status_code == 404


async def test_every_answer_forbids_to_guess_its_type(service: Service) -> None:
    integration = await service.add_webhooks(**PROVEN)
    async with http_client(base_url=service.url) as client:
        for method, path in [
            ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nowhere"),
            ("GET", "/openapi.json"), ("GET", "/api/devices"), ("POST", f"/webhooks/{integration}"),
            ("POST", "/webhooks"), ("PUT", "/healthz"), ("POST", "/webhooks/unknown"),
        ]:  # fmt: skip
            answer = await client.request(method, path)
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], path
    async with sockets(service) as opened:
        ((reader, writer),) = await opened.open()
        writer.write(b"nonsense\r\n\r\n")
        assert b"x-content-type-options: nosniff" in await reader.read()


async def test_a_large_body_is_not_decoded_before_it_has_proved_itself(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def decode(request: object, context: object) -> tuple[object, ...]:
        decoded.append(1)
        return ()

    monkeypatch.setattr("ingest.webhooks.route.decode", decode)
    integration = await service.add_webhooks(**PROVEN)
    body = b'{"messageType":"DestinationConfirmation","x":[' + b"[],[[]]," * 100_000 + b"1]}"
    async with http_client(base_url=service.url) as client:
        assert (await client.post(f"/webhooks/{integration}", content=body)).status_code == 401
        assert decoded == []
        small = await client.post(f"/webhooks/{integration}", content=body[:40])
        assert small.status_code == 401
        assert decoded == [1]
