"""A wall clock that is set back between two runs."""

import time

import pytest

from tests.ingest.service import running
from tests.servers.mosquitto import MosquittoServer

SECOND = 1_000_000
SEEN = "select (extract(epoch from last_seen_online) * 1000000)::bigint from devices"
VERSION = "select firmware_version from devices"
GAPS = "select count(*) from rollcall.device_events where kind = 'gap' and detail ->> 'why' = 'the clock was set back'"


def ahead_by(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock be ahead of what it is outside."""
    true = time.time_ns
    monkeypatch.setattr("ingest.clock.time.time_ns", lambda: true() + int(seconds * 1_000_000_000))


async def spoken_ahead(
    seconds: float, database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Hear a device and the session's marker by a clock that is so far ahead; return when the device was seen."""
    with monkeypatch.context() as ahead:
        ahead_by(seconds, ahead)
        async with running(database, mosquitto) as service:
            await service.connected(await service.add_integration())
            await service.publish("devices/d1/telemetry", '{"fw": "1"}')
            await service.sees(VERSION, "1")
            seen = int(await service.pool.fetchval(SEEN))
            await service.sees("select count(*) from rollcall.mqtt_sessions where heard_until > $1", 1, seen)
            return seen


async def test_a_clock_that_was_set_back_dates_no_new_word_before_an_old_one(
    database: str, mosquitto: MosquittoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await spoken_ahead(100, database, mosquitto, monkeypatch)
    async with running(database, mosquitto) as service:
        await service.publish("devices/d1/telemetry", '{"fw": "2"}')
        await service.sees(VERSION, "2")
        assert int(await service.pool.fetchval(SEEN)) > seen
        await service.publish("devices/d1/connection", "offline")
        await service.sees("select status::text from devices", "offline")
        assert await service.pool.fetchval(GAPS) == 0


async def test_a_clock_that_was_far_ahead_is_not_followed_and_leaves_a_gap(
    database: str,
    mosquitto: MosquittoServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await spoken_ahead(3_600, database, mosquitto, monkeypatch)
    async with running(database, mosquitto) as service:
        await service.sees(GAPS, 1)
        now = int(time.time() * SECOND)
        heard_until = await service.pool.fetchval("select heard_until from rollcall.mqtt_sessions")
        assert heard_until < now + SECOND, "silences are told by the clock of now"
        await service.publish("devices/d2/telemetry", "{}")
        await service.sees(
            "select count(*) from devices where external_device_id = 'd2' and last_seen_online is not null", 1
        )
        seen = int(await service.pool.fetchval(SEEN + " where external_device_id = 'd2'"))
        assert abs(seen - now) < 30 * SECOND
    assert "the clock was set back by 3" in caplog.text
    async with running(database, mosquitto) as service:
        await service.connected(await service.pool.fetchval("select id from device_integrations"))
        assert await service.pool.fetchval(GAPS) == 1
