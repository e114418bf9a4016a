"""Topics that the broker does not grant: a line in the log for each, and the row's state where none is left."""

import asyncio

import pytest

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scripted import Script, read_packet, scripted_server

NOT_AUTHORIZED = 0x87
STATE = "select count(*) from rollcall.mqtt_sessions where state = $1 and detail like '%not authorized%'"


def granting(*codes: int) -> Script:
    """Accept a session of MQTT 5, and answer its SUBSCRIBE with these codes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(b"\x20\x03\x00\x00\x00")
        subscribe = await read_packet(reader)
        writer.write(bytes([0x90, 3 + len(codes)]) + subscribe[3:5] + b"\x00" + bytes(codes))
        await reader.read()

    return script


async def test_topics_that_are_refused_or_granted_at_qos_0_are_in_the_log(
    database: str, mosquitto: MosquittoServer, caplog: pytest.LogCaptureFixture
) -> None:
    script = granting(NOT_AUTHORIZED, 0, 1, 1)
    async with scripted_server(script) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port)
        await service.sees(STATE, 1, "connected")
    said = [one.getMessage() for one in caplog.records if "the topic" in one.getMessage()]
    assert len(said) == 2
    assert said[0].startswith("integration m: the topic ")
    assert "not authorized" in said[0]
    assert said[1].endswith("granted at QoS 0: what it brings may be lost")


async def test_a_broker_that_refuses_every_topic_has_refused_the_session(
    database: str, mosquitto: MosquittoServer
) -> None:
    script = granting(*[NOT_AUTHORIZED] * 4)
    async with scripted_server(script) as port, running(database, mosquitto) as service:
        await service.add_integration(port=port)
        await service.sees(STATE, 1, "refused")
