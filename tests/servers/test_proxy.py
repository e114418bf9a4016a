"""The proxy spoils a connection in the ways that it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from tests.servers.http import HttpServer, Request, Response
from tests.servers.mosquitto import MosquittoServer
from tests.servers.proxy import Proxy
from tests.servers.started import started

ASKED = b"GET / HTTP/1.1\r\n\r\n"
END = b"hello"


async def hello(_: Request) -> Response:
    return Response(200, END)


@asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def hung_up(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionError:
        return True


async def test_a_halved_connection_stays_open_and_says_nothing_and_a_new_one_works() -> None:
    async with (
        HttpServer(hello) as server,
        Proxy(server.port) as proxy,
        client(proxy) as (reader, writer),
        client(proxy) as (other_reader, other),
    ):
        writer.write(ASKED)
        assert (await reader.readuntil(END)).endswith(END)
        proxy.halve()
        writer.write(ASKED)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        assert not reader.at_eof()
        async with client(proxy) as (new_reader, new):
            new.write(ASKED)
            assert (await new_reader.readuntil(END)).endswith(END)
        proxy.cut()
        other.write(ASKED)
        assert await hung_up(other_reader)
        assert await hung_up(reader)


async def test_while_it_refuses_nobody_gets_an_answer() -> None:
    async with HttpServer(hello) as server, Proxy(server.port) as proxy:
        proxy.refusing = True
        async with client(proxy) as (reader, _):
            assert await hung_up(reader)


async def test_single_bytes_that_come_late_are_all_there() -> None:
    async with HttpServer(hello) as server, Proxy(server.port) as proxy, client(proxy) as (reader, writer):
        proxy.byte_by_byte, proxy.delay_s = True, 0.05
        writer.write(ASKED)
        began = asyncio.get_running_loop().time()
        assert (await reader.readuntil(END)).endswith(END)
        assert asyncio.get_running_loop().time() - began >= 2 * proxy.delay_s
        assert bytes(proxy.sent) == ASKED


async def test_a_forbidden_publish_is_answered_and_does_not_arrive() -> None:
    with started(MosquittoServer()) as broker:
        async with Proxy(broker.port, mqtt=True) as proxy:
            await _only_the_allowed_arrives(proxy)


async def _only_the_allowed_arrives(proxy: Proxy) -> None:
    v5 = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client(proxy.host, proxy.port, protocol=v5, timeout=5) as mqtt:
        await mqtt.subscribe("#", qos=1)
        proxy.forbidden = b"rollcall/"
        for topic in ("rollcall/marker", "devices/d"):
            await mqtt.publish(topic, b"x" * 300, qos=1)  # returns with the PUBACK
        message = await asyncio.wait_for(anext(aiter(mqtt.messages)), 5)
        assert str(message.topic) == "devices/d"
