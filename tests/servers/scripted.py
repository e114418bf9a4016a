"""A TCP server that does what the test says, for what no real broker would do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[int]:
    """Run `script` for each connection and close it afterwards; yields the port."""
    failures: list[BaseException] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)
    if failures:
        raise failures[0]


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    """Read one MQTT packet, with its fixed header."""
    head = await reader.readexactly(2)
    length, shift = head[1] & 127, 7
    while head[-1] > 127:
        head += await reader.readexactly(1)
        length |= (head[-1] & 127) << shift
        shift += 7
    return head + await reader.readexactly(length)
