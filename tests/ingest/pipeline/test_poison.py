"""Packets that a broker should not have stored: one that is framed costs itself alone, another is asked for rarely."""

import asyncio
import random

import pytest

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scripted import Script, read_packet, scripted_server
from tests.waiting import until

STUCK = "select count(*) from rollcall.mqtt_sessions where state = 'stuck'"


class Stored:
    """A broker with a session that holds these packets, until each is acknowledged."""

    def __init__(self, protocol: str, *waiting: bytes) -> None:
        self.connections = 0
        self.acknowledged: list[int] = []
        self._properties = b"\x00" if protocol == "5" else b""
        self._waiting = waiting

    def publish(self, topic: bytes, payload: bytes, packet_id: int, flags: int = 2) -> bytes:
        body = len(topic).to_bytes(2) + topic + packet_id.to_bytes(2) + self._properties + payload
        return bytes([0x30 | flags, len(body)]) + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await read_packet(reader)
        writer.write(bytes([0x20, 2 + len(self._properties), 1, 0]) + self._properties)
        while True:
            packet = await read_packet(reader)
            kind, body = packet[0] & 0xF0, packet[2 if packet[1] < 128 else 3 :]
            if kind == 0x80:
                writer.write(
                    bytes([0x90, 6 + len(self._properties)]) + body[:2] + self._properties + b"\x01" * 4
                )
                for waits in self._waiting:
                    writer.write(waits)
            elif kind == 0x30:
                writer.write(b"\x40\x02" + body[2 + int.from_bytes(body[:2]) :][:2])
            elif kind == 0x40:
                self.acknowledged.append(int.from_bytes(body[:2]))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "topic, shown", [(b"devices/\xff/status", r"devices/\xff/status"), (b"", ""), (b"a\0", r"a\x00")]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_stored_publish_with_a_topic_that_is_not_allowed_does_not_stop_the_session(
    database: str, mosquitto: MosquittoServer, protocol: str, topic: bytes, shown: str
) -> None:
    broker = Stored(protocol)
    broker._waiting = (
        broker.publish(b"devices/d1/telemetry", b'{"battery": 1}', 1),
        broker.publish(topic, b"offline", 2, flags=3),
        broker.publish(b"devices/d2/telemetry", b'{"battery": 1}', 3),
    )
    async with scripted_server(broker.serve) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port, protocol=protocol)
        await service.sees("select count(*) from devices where battery_level = 1", 2)
        await service.sees("select count(*) from rollcall.dead_letters where kind = 'unreadable'", 1)
        assert await service.pool.fetchval("select topic from rollcall.dead_letters") == shown
        assert await service.pool.fetchval("select count(*) from devices") == 2
        assert broker.connections == 1
        assert broker.acknowledged == [1, 2, 3]


def at_each_subscription(packet: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Stored("5", packet).serve(reader, writer)

    return script


class Hasty(random.Random):
    """Waits a hundredth of the longest wait that there may be."""

    ceilings: list[float]

    def uniform(self, a: float, b: float) -> float:
        if a == 0:
            self.ceilings.append(b)
        return b / 100


async def test_a_packet_that_cannot_be_framed_is_not_asked_for_again_and_again_without_growing_waits(
    database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hasty.ceilings = []
    monkeypatch.setattr("ingest.app.pipeline.random.Random", Hasty)
    async with scripted_server(at_each_subscription(b"\x36\x07\x00\x01a\x00\x01\x00x")) as port:
        async with running(database, mosquitto) as service:
            await service.add_integration(port=port)
            await service.sees(STUCK, 1)

            async def grown() -> bool:
                return max(Hasty.ceilings) >= 64

            await until(grown, 20, "the waits grow")
        waits = [one for one in Hasty.ceilings if one <= 64]
        assert len(waits) < 20, "few connections"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_payload_above_a_small_max_payload_is_not_read(
    database: str, mosquitto: MosquittoServer, protocol: str
) -> None:
    async with running(database, mosquitto, max_payload=1_000) as service:
        await service.connected(await service.add_integration(protocol=protocol))
        await service.publish("devices/d1/telemetry", b'{"battery": 1, "pad": "%s"}' % (b"x" * 1_000))
        await service.publish("devices/d2/telemetry", b'{"battery": 2}')
        await service.sees("select battery_level from devices", 2)
        kept = "select (kind, truncated, octet_length(payload))::text from rollcall.dead_letters"
        assert await service.pool.fetchval(kept) == "(oversized,t,1000)"
