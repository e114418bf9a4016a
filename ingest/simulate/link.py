"""One MQTT connection of the fleet: stores while it is away, forwards when it is back, can be cut like a cable."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiomqtt

from ingest.simulate.device import Device

MAX_STORED = 200
"""Messages that a device keeps while it is away; the oldest go first."""
RECONNECT_AFTER_S = 1.0
QUIET = logging.Logger("rollcall.simulate", logging.CRITICAL + 1)


class Message(NamedTuple):
    """A PUBLISH at QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """The broker, and who counts what it acknowledged."""

    host: str
    port: int
    username: str | None
    password: str | None
    published: Callable[[], None]


class Link:
    """A connection for one device, with its will, or shared by many, without."""

    def __init__(self, address: Address, client_id: str, device: Device | None = None) -> None:
        self._address = address
        self._client_id = client_id
        self._device = device
        self._stored: asyncio.Queue[Message] = asyncio.Queue(MAX_STORED)
        self._unsent: Message | None = None
        self._client: aiomqtt.Client | None = None
        self._away_s = RECONNECT_AFTER_S

    async def send(self, message: Message) -> None:
        """Hand a message over. A device's own link forgets its oldest when it is full; a shared one waits."""
        if self._device is not None and self._stored.full():
            self._stored.get_nowait()
        await self._stored.put(message)

    def cut(self, away_s: float) -> None:
        """Cut the connection without a DISCONNECT, so that the broker publishes the will; back after `away_s`."""
        self._away_s = away_s
        plug = self._client._client.socket() if self._client else None
        if isinstance(plug, socket.socket):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)

    async def run(self) -> None:
        """Stay connected and send, until cancelled.

        A cancellation that meets the end of a connection may be swallowed on its way through aiomqtt, so the task
        is asked whether it was cancelled; nothing in here may call `uncancel`, as a TaskGroup would.
        """
        while not _cancelled():
            client = self._new_client()
            ended_at_once = client._disconnected
            try:
                async with client:
                    self._client = client
                    await self._greet(client)
                    await self._forward(client)
            except (aiomqtt.MqttError, OSError):
                self._client = None
            finally:
                look_why(ended_at_once, client._disconnected)
            if not _cancelled():
                await asyncio.sleep(self._away_s)
            self._away_s = RECONNECT_AFTER_S

    def _new_client(self) -> aiomqtt.Client:
        will = (
            aiomqtt.Will(self._device.topics.connection, b"offline", qos=1, retain=True)
            if self._device
            else None
        )
        return aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=self._client_id,
            logger=QUIET,
            protocol=aiomqtt.ProtocolVersion.V311,
            will=will,
            keepalive=10,
            timeout=5,
        )

    async def _greet(self, client: aiomqtt.Client) -> None:
        if self._device is not None:
            topics = self._device.topics
            await client.publish(topics.connection, b"online", qos=1, retain=True)
            await client.publish(topics.status, self._device.status(time.time()), qos=1)

    async def _forward(self, client: aiomqtt.Client) -> None:
        """Send what is stored until the connection ends; what was under way then is sent again on the next."""
        while not (client._disconnected.done() or _cancelled()):
            if self._unsent is None and not await self._next(client):
                continue
            assert self._unsent is not None
            topic, payload, retain = self._unsent
            await client.publish(topic, payload, qos=1, retain=retain)
            self._unsent = None
            self._address.published()

    async def _next(self, client: aiomqtt.Client) -> bool:
        """Wait for a message, or for the end of the connection."""
        if self._stored.empty():
            arrival = asyncio.create_task(self._stored.get())
            either: set[asyncio.Future[Any]] = {arrival, client._disconnected}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if arrival.done():
                    self._unsent = arrival.result()
                else:
                    arrival.cancel()
        else:
            self._unsent = self._stored.get_nowait()
        return self._unsent is not None


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def look_why(*ends: "asyncio.Future[None]") -> None:
    """Look at why a connection ended, or asyncio complains later that nobody did.

    aiomqtt puts another future in the place of the one that it has where a connection ends as soon as it is made.
    """
    for ended in ends:
        if ended.done() and not ended.cancelled():
            ended.exception()
