"""Requests that no client library would send: each is answered or cut, and the next one is served."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running

EVENT = b'{"device_id":"d","battery":7}'
OPEN = {"webhook": {"auth": "none"}}
POST = b"POST %s HTTP/1.1\r\nhost: x\r\n"
HEADS = {
    "a header of 1 MiB": b"POST %s HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "ten thousand headers": b"POST %s HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    "a length that is no number": POST + b"content-length: 1e9\r\n\r\n",
    "a negative length": POST + b"content-length: -1\r\n\r\n",
    "a length of 2^80": POST + b"content-length: 1208925819614629174706176\r\n\r\n",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "length and chunks": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is no number": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk of 2^62": POST + b"transfer-encoding: chunked\r\n\r\n3fffffffffffffff\r\n{}\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00%s\0\0\r\n\r\n",
    "a NUL in the path": b"POST %s\0 HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


async def answer_to(service: Service, request: bytes) -> bytes:
    """Send these bytes, and return the first line of the answer, or nothing where the connection was cut."""
    port = int(service.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            writer.write(request)
            await writer.drain()
            writer.write_eof()
            return await reader.readline()
    except (ConnectionError, OSError):
        return b""
    finally:
        writer.close()


async def test_a_request_that_lies_about_its_form_is_refused_and_the_next_one_is_served(
    service: Service,
) -> None:
    integration = await service.add_webhooks(**OPEN)
    for name, head in HEADS.items():
        line = await answer_to(service, head.replace(b"%s", b"/webhooks/%s" % str(integration).encode()))
        assert not line or b" 4" in line[:13], (name, line)
    async with http_client() as client:
        answered = await client.post(f"{service.url}/webhooks/{integration}", content=EVENT)
    assert answered.status_code == 200
    assert await service.pool.fetchval("select count(*) from devices") == 1


@pytest.mark.parametrize(
    "content_type, encoding, body",
    [
        ("application/json", "gzip", gzip.compress(b'{"device_id":"d","x":"' + b"0" * 50_000_000 + b'"}')),
        ("application/json", "", b"\xbf" * 1_000),
        ("text/plain; charset=utf-16", "", EVENT.decode().encode("utf-16")),
        ("application/json", "", b'{"device_id":NaN}'),
        ("application/json", "", b'{"device_id":"d","battery":-Infinit}'),
        ("application/json", "", b"[" + b",".join([b"{}"] * 100_000) + b"]"),
        ("application/json", "", b'{"device_id":"d","battery":' + b"9" * 100_000 + b"}"),
        ("application/json", "", b'{"a":' * 100_000),
        ("application/cloudevents-batch+json", "", b"[" * 500_000),
        ("", "", b"\0" * 1_000_000),
    ],
)
async def test_a_body_that_lies_about_its_content_is_refused_kept_and_makes_no_device(
    service: Service, content_type: str, encoding: str, body: bytes
) -> None:
    integration = await service.add_webhooks(**OPEN)
    headers = {"content-type": content_type, **({"content-encoding": encoding} if encoding else {})}
    async with http_client(timeout=20) as client:
        answered = await client.post(f"{service.url}/webhooks/{integration}", content=body, headers=headers)
        assert 400 <= answered.status_code < 500, answered.text[:300]
        assert len(answered.content) < 2_000
        again = await client.post(f"{service.url}/webhooks/{integration}", content=EVENT)
    assert again.status_code == 200
    assert await service.pool.fetchval("select count(*) from devices") == 1
    if answered.status_code == 400:
        kept = await service.pool.fetchval("select payload from rollcall.dead_letters")
        assert kept == body


async def test_of_a_key_written_twice_the_last_counts(service: Service) -> None:
    integration = await service.add_webhooks(**OPEN)
    body = b'{"device_id":"first","device_id":"last","battery":1,"battery":2}'
    async with http_client() as client:
        assert (await client.post(f"{service.url}/webhooks/{integration}", content=body)).status_code == 200
    rows = await service.pool.fetch("select external_device_id, battery_level from devices")
    assert [tuple(row) for row in rows] == [("last", 2)]
