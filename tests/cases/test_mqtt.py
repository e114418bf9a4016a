"""Cases of devices, published to a real broker: row, dead letters and field errors are as written."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiomqtt

from handlers.dialects.plain import Context, decode
from handlers.events import SECOND, Publish
from handlers.paths import FieldPaths
from handlers.topics import Topics
from ingest.integrations.settings import mqtt_settings
from tests.cases.cases import differences, load, payload
from tests.http_client import http_client
from tests.ingest.service import Service, running
from tests.servers.mosquitto import MosquittoServer

CASES = load("mqtt.jsonl")
DEAD = "select kind, error from rollcall.dead_letters where topic = $1"
COUNTED = {"errors": "rollcall_field_errors_total", "skewed": "rollcall_skewed_times_total"}
AFTERWARDS = """
select count(*) from devices d join rollcall.device_state s on s.device_id = d.id where d.external_device_id = $1"""
"""Rows are made before the batch that they are for is committed: the state is written by that."""


async def test_what_devices_send_becomes_what_a_person_expects(
    database: str, mosquitto: MosquittoServer
) -> None:
    wrong: list[str] = []
    async with running(database, mosquitto) as service:
        assert not [case["id"] for case in CASES if set(case["want"]) - WANTS], "a want that nobody reads"
        await service.connected(await service.add_integration())
        for number, settings in enumerate(own_settings()):
            topics = {
                kind: f"own{number}/{{device_id}}/{kind}" for kind in ("telemetry", "connection", "status")
            }
            integration = await service.add_integration(
                f"own{number}", client_id=f"own{number}", topics=topics, **settings
            )
            await service.connected(integration)
        for case in CASES:
            wrong += [f"{case['id']}: {told}" for told in await tried(service, case)]
    assert not wrong, "\n".join(wrong)


WANTS = {
    "status", "battery", "signal", "firmware", "history", "readings", "battery_age_s", "skewed", "errors", "dead",
    "says", "no_row",
}  # fmt: skip


def own_settings() -> list[dict[str, Any]]:
    return [case["settings"] for case in CASES if "settings" in case]


async def tried(service: Service, case: dict[str, Any]) -> list[str]:
    """Publish the messages of a case, wait until what was published after them is in, and compare."""
    device, want, now = f"case-{case['id']}", case["want"], datetime.now(UTC)
    prefix = f"own{own_settings().index(case['settings'])}" if "settings" in case else "devices"
    topic = case.get("at", f"{prefix}/DEVICE/{case['topic']}").replace("DEVICE", device)
    sent = [payload(form, device, now) for form in case["send"]]
    before = await counts(service)
    async with aiomqtt.Client("127.0.0.1", service.broker.port) as client:
        for raw in sent:
            await client.publish(topic, raw, qos=case.get("qos", 1))
        await client.publish(f"{prefix}/after-{device}/telemetry", "{}", qos=1)
    await service.sees(AFTERWARDS, 1, f"after-{device}")
    after = await counts(service)
    told = await differences(service.pool, want, device)
    for name in COUNTED:
        expected = len(want.get("errors", [])) if name == "errors" else want.get("skewed", 0)
        if after[name] - before[name] != expected:
            told.append(f"{name}: {after[name] - before[name]} were counted")
    letters = await service.pool.fetch(DEAD, topic)
    if [letter["kind"] for letter in letters] != ([want["dead"]] if "dead" in want else []):
        told.append(f"dead letters {letters}")
    elif letters and want.get("says", "") not in letters[0]["error"]:
        told.append(f"the dead letter says {letters[0]['error']}")
    return told + misnamed(case, topic, sent, now)


def misnamed(case: dict[str, Any], topic: str, sent: list[bytes], now: datetime) -> list[str]:
    """Return which field errors have other names than is wanted: the counter has none."""
    if "at" in case:
        return []
    settings = mqtt_settings(case.get("settings", {}), "m")
    prefix = topic.split("/")[0]
    topics = Topics.parse(
        {kind: f"{prefix}/{{device_id}}/{kind}" for kind in ("telemetry", "connection", "status")}
    )
    context = Context(
        UUID(int=1), topics, field_paths=FieldPaths(settings.field_paths), words=settings.presence_words.words
    )
    received_at = int(now.timestamp()) * SECOND
    named = [
        error.field
        for raw in sent
        for error in decode(
            Publish(topic, raw, 1, False, False, 1, received_at, len(raw)), context, None
        ).field_errors
    ]
    return [] if named == case["want"].get("errors", []) else [f"errors {named}"]


async def counts(service: Service) -> dict[str, int]:
    """Return the counters of the service, whatever labels they have."""
    async with http_client() as client:
        text = (await client.get(f"{service.url}/metrics")).text
    return {
        name: int(sum(float(value) for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", text, re.M)))
        for name, metric in COUNTED.items()
    }
