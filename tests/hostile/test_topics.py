"""Topics with every odd character, through a real Mosquitto and as raw packets that no healthy broker would send."""

import asyncio
import re
import socket
from typing import Any

import mqtt5
import orjson
import pytest

from tests.http_client import http_client
from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scripted import read_packet, scripted_server

CONNACK = b"\x20\x03\x00\x00\x00"
EVERYTHING = {"topics": {"telemetry": ["devices/{device_id}/telemetry", "{device_id}/#"]}}
ODD = [
    "devices//telemetry",
    "devices/\uffff/telemetry",
    "devices/\x01\x1f\x7f\x85/telemetry",
    "devices/a\nb\r\tc/telemetry",
    "devices/\u202e\u200b\ufeff/telemetry",
    "devices/\U0001f600/telemetry",
    "devices/'; drop table devices; --/telemetry",
    "devices/%s{}$1\\/telemetry",
    "devices/" + "x" * 256 + "/telemetry",
    "devices/" + "é" * 300 + "/telemetry",
    "$SYS/broker/uptime",
    "$share/g/devices/d/telemetry",
    "/",
    "//",
    "///" + "/" * 200,
    "devices/d/telemetry/",
    " ",
    "d",
    "devices/" + "/" * (65_535 - 8),
    "t" * 65_535,
]
SEEN = "select count(*) from devices where external_device_id = 'good' and battery_level = 50"


def publish(topic: str, payload: bytes = b'{"battery":1}', packet_id: int = 1, **more: Any) -> bytes:
    return mqtt5.PublishPacket(
        topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id, **more
    ).write()


def raw(topic: bytes, payload: bytes = b'{"battery":1}') -> bytes:
    """A QoS 0 PUBLISH whose topic is these bytes."""
    body = len(topic).to_bytes(2, "big") + topic + b"\0" + payload
    return b"\x30" + bytes([len(body)]) + body


def send_one(port: int, packet: bytes) -> None:
    """Connect, publish, wait for the PUBACK or the broker's good-bye, leave: a broker may refuse an odd topic."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as there:
        there.sendall(mqtt5.ConnectPacket("odd").write())
        assert there.recv(1024)
        there.sendall(packet)
        there.recv(1024)


async def test_no_topic_that_the_broker_passes_on_disturbs_the_session(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        integration = await service.add_integration(**EVERYTHING)
        await service.connected(integration)
        since = await service.pool.fetchval("select connected_at from rollcall.mqtt_sessions")
        for topic in ODD:
            await asyncio.to_thread(send_one, mosquitto.port, publish(topic))
        await service.publish("devices/good/telemetry", b'{"battery":50}')
        await service.sees(SEEN, 1)
        assert await service.pool.fetchval("select connected_at from rollcall.mqtt_sessions") == since
        ids = {row[0] for row in await service.pool.fetch("select external_device_id from devices")}
        assert {"\U0001f600", "'; drop table devices; --", "%s{}$1\\", " ", "d"} <= ids
        assert not [one for one in ids if not one or len(one) > 255 or one.startswith("$")]
        kept = await service.pool.fetch("select kind, topic from rollcall.dead_letters")
        assert {"devices//telemetry", "t" * 65_535} <= {row["topic"] for row in kept}
        assert {row["kind"] for row in kept} == {"device_id"}


async def test_what_this_broker_refuses_and_another_passes_on_is_an_id_like_any_other(
    database: str, mosquitto: MosquittoServer
) -> None:
    ids = ["\uffff", "a\nb\r\tc", "\x01\x1f\x7f\x85", "\ufdd0", "\U0010ffff"]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        for packet_id, odd in enumerate([*ids, "good"], 1):
            writer.write(publish(f"devices/{odd}/telemetry", b'{"battery":50}', packet_id))
        while await reader.read(4096):
            pass

    async with scripted_server(script) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port)
        await service.sees(SEEN, 1)
        rows = await service.pool.fetch("select external_device_id from devices where battery_level = 50")
        assert {row[0] for row in rows} == {*ids, "good"}


@pytest.mark.parametrize(
    "topic",
    [b"devices/\xed\xa0\x80/telemetry", b"devices/\0/telemetry", b"\xff\xfe", b""],
    ids=["lone surrogate", "NUL", "not UTF-8", "empty"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mqtt5 0.8 panics
async def test_a_topic_that_is_no_text_is_skipped_and_what_came_before_is_kept(
    database: str, mosquitto: MosquittoServer, topic: bytes
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        writer.write(publish("devices/good/telemetry", b'{"battery":50}') + raw(topic))
        while await reader.read(4096):
            pass

    async with scripted_server(script) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port)
        await service.sees(SEEN, 1)
        await service.sees("select count(*) from rollcall.dead_letters where kind = 'unreadable'", 1)


async def test_a_content_type_that_cannot_be_stored_costs_only_itself(
    database: str, mosquitto: MosquittoServer
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greeted(reader, writer)
        writer.write(publish("devices/bad/telemetry", b"{", content_type="a\0b" + "c" * 60_000))
        writer.write(publish("devices/good/telemetry", b'{"battery":50}', 2))
        while await reader.read(4096):
            pass

    async with scripted_server(script) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port)
        await service.sees(SEEN, 1)
        row = await service.pool.fetchrow("select kind, content_type, payload from rollcall.dead_letters")
        assert (row["kind"], row["payload"]) == ("json", b"{")
        assert row["content_type"].startswith("a\\0b")
        assert len(row["content_type"]) <= 300


async def test_a_payload_that_names_another_device_loses_to_the_topic_and_is_counted(
    database: str, mosquitto: MosquittoServer
) -> None:
    async with running(database, mosquitto) as service:
        await service.connected(await service.add_integration())
        body = orjson.dumps({"device": "victim", "battery": 1, "fw": "9.9.9"})
        await service.publish("devices/liar/telemetry", body)
        await service.publish("devices/good/telemetry", b'{"battery":50}')
        await service.sees(SEEN, 1)
        rows = await service.pool.fetch("select external_device_id from devices order by 1")
        assert [row[0] for row in rows] == ["good", "liar"]
        async with http_client() as client:
            page = (await client.get(f"{service.url}/metrics")).text
        counted = re.findall(r"^rollcall_field_errors_total\{.*\} (\S+)$", page, re.MULTILINE)
        assert sum(map(float, counted)) == 1


async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take CONNECT and SUBSCRIBE as a broker does that grants everything."""
    await read_packet(reader)
    writer.write(CONNACK)
    packet, _ = mqtt5.read(await read_packet(reader))
    assert isinstance(packet, mqtt5.SubscribePacket)
    granted = [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE] * len(packet.topic_filters)
    writer.write(mqtt5.SubAckPacket(packet.packet_id, granted).write())
