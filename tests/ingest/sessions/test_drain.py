"""A backlog whose reading is broken off: who said offline in it is remembered from the rows, whatever breaks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import orjson
import pytest

from ingest.sessions.drain import Drain
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.rollcall import RollcallProcess
from tests.servers.scripted import read_packet, scripted_server

STATUS = "select status::text from devices where external_device_id = 'd1'"
BATTERY = "select battery_level from devices where external_device_id = 'd1'"
FILLER = 3_000


class Backlog:
    """A broker with one session, which it never believes to have a PUBACK: `offline`, then telemetry on a reconnect.

    Speaks MQTT 5. A connection gets what waits; the first to acknowledge `offline` is cut.
    """

    def __init__(self) -> None:
        self.telemetry = b""
        self.acknowledged = asyncio.Event()
        self.cut = False
        self.present = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(b"\x20\x03" + bytes([self.present]) + b"\x00\x00")
        self.present = True
        if self.telemetry:
            writer.write(self._publish("devices/d1/connection", b"offline", 1, dup=self.cut))
        if self.cut:
            writer.write(self._publish("devices/d1/telemetry", self.telemetry, 2, dup=False))
        while True:
            await self._answer(await read_packet(reader), writer)

    async def _answer(self, packet: bytes, writer: asyncio.StreamWriter) -> None:
        kind, body = packet[0] & 0xF0, packet[2 if packet[1] < 128 else 3 :]
        if kind == 0x80:
            writer.write(b"\x90\x07" + body[:2] + b"\x00" + b"\x01" * 4)
        elif kind == 0x30:
            length = int.from_bytes(body[:2])
            topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
            writer.write(b"\x40\x02" + rest[:2])
            if self.cut or not self.telemetry:  # a marker comes behind what waits
                writer.write(self._publish(topic, rest[3:], 900, dup=False))
        elif kind == 0x40 and body[:2] == b"\x00\x01" and not self.cut:
            self.cut = True
            self.acknowledged.set()
            writer.transport.abort()
        elif kind == 0xA0:
            writer.write(b"\xb0\x04" + body[:2] + b"\x00\x00")
        elif kind == 0xC0:
            writer.write(b"\xd0\x00")

    def _publish(self, topic: str, payload: bytes, packet_id: int, *, dup: bool) -> bytes:
        name = topic.encode()
        body = len(name).to_bytes(2) + name + packet_id.to_bytes(2) + b"\x00" + payload
        return bytes([0x3A if dup else 0x32, len(body)]) + body


@contextlib.asynccontextmanager
async def broken_off(database: str, mosquitto: MosquittoServer, liveness: str) -> AsyncIterator[Service]:
    """Bring `offline` and telemetry behind it with a cut between the commit of the one and its PUBACK."""
    backlog = Backlog()
    async with scripted_server(backlog.serve) as port:
        async with running(database, mosquitto) as service:
            await service.connected(await service.add_integration(port=port, liveness=liveness))
            await service.sees(
                "select count(*) from rollcall.mqtt_sessions where heard_until > heard_since", 1
            )
        backlog.telemetry = orjson.dumps({"battery": 49, "ts": time.time()})
        async with running(database, mosquitto) as service:
            async with asyncio.timeout(10):
                await backlog.acknowledged.wait()
            yield service


@pytest.mark.parametrize("liveness", ["receipt", "event_time"])
async def test_a_cut_in_mid_drain_does_not_forget_who_said_offline(
    database: str, mosquitto: MosquittoServer, liveness: str
) -> None:
    async with broken_off(database, mosquitto, liveness) as service:
        await service.sees(BATTERY, 49)
        assert await service.pool.fetchval(STATUS) == "online"
        event = "select kind from rollcall.device_events where kind in ('online', 'offline') order by at desc limit 1"
        assert await service.pool.fetchval(event) == "online"


async def queue(mosquitto: MosquittoServer) -> None:
    """Let a device go and come back, with much between the two."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        await device.publish("devices/d1/connection", b"offline", qos=1)
        for n in range(FILLER):
            await device.publish(f"devices/x{n % 50}/telemetry", b"{}", qos=1)
        said = orjson.dumps({"battery": 49, "ts": time.time()})
        await device.publish("devices/d1/telemetry", said, qos=1)


@pytest.mark.parametrize("liveness", ["receipt", "event_time"])
async def test_a_kill_in_mid_drain_does_not_forget_who_said_offline(
    database: str, mosquitto: MosquittoServer, tmp_path: Path, liveness: str
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration(liveness=liveness))
        await service.publish("devices/d1/telemetry", '{"battery": 50}')
        await service.sees(BATTERY, 50)
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > heard_since", 1)
    await queue(mosquitto)
    killed = RollcallProcess(database, tmp_path / "log", ROLLCALL_MAX_INFLIGHT="10")
    async with running(database, None) as looking:
        killed.start()
        try:
            await looking.sees(STATUS, "offline", within_s=30)
        finally:
            killed.kill9()
        assert await looking.pool.fetchval(BATTERY) == 50, "it was killed before the end of the backlog"
    async with running(database, mosquitto) as service:
        await service.sees(BATTERY, 49, within_s=20)
        assert await service.pool.fetchval(STATUS) == "online"


@pytest.mark.parametrize("liveness", ["receipt", "event_time"])
async def test_a_device_that_came_back_in_the_backlog_is_online_whatever_the_liveness(
    database: str, mosquitto: MosquittoServer, liveness: str
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration(liveness=liveness))
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > heard_since", 1)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        await device.publish("devices/d1/connection", b"offline", qos=1)
        said = orjson.dumps({"battery": 49, "ts": time.time()})
        await device.publish("devices/d1/telemetry", said, qos=1)
    async with running(database, mosquitto) as service:
        await service.sees(BATTERY, 49)
        assert await service.pool.fetchval(STATUS) == "online"


async def test_without_an_offline_word_a_devices_own_time_dates_its_presence(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > heard_since", 1)
    said_at = time.time()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        said = orjson.dumps({"battery": 49, "ts": said_at})
        await device.publish("devices/d1/telemetry", said, qos=1)
    async with running(database, mosquitto) as service:
        await service.sees(BATTERY, 49)
        seen = await service.pool.fetchval("select extract(epoch from last_seen_online) from devices")
        assert abs(float(seen) - said_at) < 0.001


def test_a_word_that_comes_later_changes_nothing_of_what_was_read_before() -> None:
    """A refused batch is decoded again: what came before the word must mean the same then."""
    drain = Drain(1_000)
    drain._note("d1", 2_000)
    assert drain.dates("d1", 1_999)
    assert not drain.dates("d1", 2_001)
    assert drain.dates("d2", 2_001)


def test_past_its_limit_no_device_is_dated_by_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.sessions.drain.MAX_OFFLINE", 2)
    assert Drain.resumed(1_000, ["a", "b"]).dates("c", 2_000)
    assert not Drain.resumed(1_000, ["a", "b", "c"]).dates("d", 2_000)
