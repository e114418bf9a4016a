"""Senders that are too large, too slow or too many hurt nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.waiting import until

OPEN = {"webhook": {"auth": "none"}}
EVENT = b'{"device_id":"dev-1","battery":7}'
TEN_MB = b"x" * 10_000_000


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with running(database, None) as there:
        yield there


class Sender:
    """A connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, service: Service) -> "Sender":
        port = int(service.url.rsplit(":", 1)[1])
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        return int((await self.reader.readline()).split()[1])

    async def is_cut(self, within_s: float, drip: bytes = b"") -> bool:
        """Drip on until the other side closes."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            try:
                if drip:
                    await self.send(drip)
                async with asyncio.timeout(0.1):
                    if await self.reader.read(65_536) == b"":
                        return True
            except TimeoutError:
                continue
            except ConnectionError:
                return True
        return False

    def close(self) -> None:
        self.writer.close()


def head(integration: object, length: int) -> bytes:
    return f"POST /webhooks/{integration} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode()


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(10):
        yield b"x" * 1_000_000


async def test_a_body_of_ten_megabytes_is_refused_also_when_it_does_not_say_its_size(
    service: Service,
) -> None:
    integration = await service.add_webhooks(webhook={"auth": "header"}, secret="s" * 20)
    async with http_client(base_url=service.url) as client:
        for content in (TEN_MB, chunks()):
            answer = await client.post(f"/webhooks/{integration}", content=content)
            assert answer.status_code == 413
            assert answer.json()["title"]
        answer = await client.post(f"/webhooks/{integration}", content=b"x" * (1 << 20))
        assert answer.status_code == 401


async def test_a_body_of_just_a_mebibyte_is_read(service: Service) -> None:
    integration = await service.add_webhooks(**OPEN)
    async with http_client(base_url=service.url) as client:
        body = EVENT + b" " * ((1 << 20) - len(EVENT))
        assert (await client.post(f"/webhooks/{integration}", content=body)).status_code == 200


@pytest.mark.parametrize("where", ["nothing", "head", "body"])
async def test_a_slow_sender_is_cut_and_others_are_not(
    service: Service, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    integration = await service.add_webhooks(**OPEN)
    monkeypatch.setattr("ingest.http.server.READ_WITHIN_S", 1.0)
    slow, good = await Sender.open(service), await Sender.open(service)
    starts = {"nothing": b"", "head": b"POST / HTTP/1.1\r\n", "body": head(integration, 5_000)}
    drips = {"nothing": b"", "head": b"a: b\r\n", "body": b"x"}
    await slow.send(starts[where])
    await good.send(head(integration, len(EVENT)) + EVENT)
    assert await good.status() == 200
    assert await slow.is_cut(4, drips[where])
    slow.close()
    good.close()


async def test_a_head_that_never_ends_is_refused(service: Service) -> None:
    sender = await Sender.open(service)
    await sender.send(b"POST /webhooks HTTP/1.1\r\na: ")
    assert await sender.is_cut(4, b"x" * 16_384)
    sender.close()


async def test_two_hundred_senders_at_once_are_all_answered(service: Service) -> None:
    integration = await service.add_webhooks(**OPEN)

    async def send(n: int) -> list[int]:
        async with http_client(base_url=service.url, timeout=30) as client:
            return [
                (
                    await client.post(
                        f"/webhooks/{integration}", json={"device_id": f"d{n}", "battery": battery}
                    )
                ).status_code
                for battery in range(5)
            ]

    answers = await asyncio.gather(*(send(n) for n in range(200)))
    assert answers == [[200] * 5] * 200
    assert await service.pool.fetchval("select count(*) from devices where battery_level = 4") == 200


async def test_too_many_requests_of_one_integration_are_refused_and_the_next_is_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = await service.add_webhooks("full", **OPEN)
    other = await service.add_webhooks("other", **OPEN)
    monkeypatch.setattr("ingest.webhooks.gate.MAX_AT_ONCE_EACH", 2)
    held = [await Sender.open(service) for _ in range(2)]
    for sender in held:
        await sender.send(head(integration, len(EVENT)) + EVENT[:5])
    async with http_client(base_url=service.url) as client:

        async def refused() -> bool:
            return (await client.post(f"/webhooks/{integration}", content=EVENT)).status_code == 429

        await until(refused, 5, "the third is refused")
        assert (await client.post(f"/webhooks/{other}", content=EVENT)).status_code == 200
        for sender in held:
            await sender.send(EVENT[5:])
            assert await sender.status() == 200
            sender.close()
        assert (await client.post(f"/webhooks/{integration}", content=EVENT)).status_code == 200


async def test_while_a_whole_batch_is_ready_requests_wait_and_are_not_refused(database: str) -> None:
    async with running(database, None, max_batch=2) as service:
        integration = await service.add_webhooks(**OPEN)
        async with http_client(base_url=service.url, timeout=20) as client:
            posts = (client.post(f"/webhooks/{integration}", json={"device_id": f"d{n}"}) for n in range(60))
            assert {answer.status_code for answer in await asyncio.gather(*posts)} == {200}


async def test_without_any_room_requests_are_refused_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = await service.add_webhooks(**OPEN)
    monkeypatch.setattr("ingest.pipeline.intake.MAX_HELD", 0)
    async with http_client(base_url=service.url) as client:
        answer = await client.post(f"/webhooks/{integration}", content=EVENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
