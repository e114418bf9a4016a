"""Many hostile payloads, for MQTT and for every webhook shape: `--hostile-payloads N` makes more of them.

Whatever comes, decoding ends in bounded time and without an exception, what it gives fits the columns, and the database
takes all of it.
"""

import random
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from handlers.dialects.plain import Context, decode
from handlers.events import Decoded, DeviceKey, Liveness, Observation, Publish
from handlers.evidence import Evidence, coalesce
from handlers.topics import Topics
from handlers.webhooks.delivery import Context as WebhookContext
from handlers.webhooks.delivery import Handshake, Request
from handlers.webhooks.shapes import DECODERS
from ingest.store.commit.apply import Applier
from ingest.store.commit.batch import Batch, Target
from ingest.store.commit.creation import UnknownPolicy
from ingest.store.commit.identity import Identities
from tests.handlers.limits import assert_fits_columns, assert_tellable
from tests.handlers.test_plain_fuzz import HEARD
from tests.handlers.webhooks.samples import INTEGRATION, NOW, SAMPLES
from tests.hostile.cost import in_a_moment
from tests.hostile.payloads import Fuzzer
from tests.strategies import OFFLINE_AFTER

PLAIN = [
    b'{"battery":87,"rssi":-71,"fw":"1.4.2","ts":1767225600}',
    b'{"data":{"battery_mv":3700,"csq":17,"temperature":21.5},"time":"2026-01-01T00:00:00Z"}',
    b'{"firmware":{"main":"1.0.0","modem":"2.1"},"status":"online","device_id":"d1"}',
    b"online",
    b"0",
    b'{"state":{"connected":false,"ts":1767225600000000}}',
]
KEPT_ONE_IN = 20
KEPT_AT_LEAST = 500
APPLIED_AT_ONCE = 500
Kept = list[Observation]


class Share(NamedTuple):
    """The payloads of one sender's kind."""

    seed: int
    count: int


@pytest.fixture
def share(request: pytest.FixtureRequest) -> Share:
    seed = request.config.getoption("--hostile-seed")
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    request.node.add_report_section("setup", "payloads", f"repeat with --hostile-seed {seed}")
    return Share(seed, request.config.getoption("--hostile-payloads") // (1 + len(DECODERS)))


async def test_no_mqtt_payload_raises_and_the_database_takes_what_they_say(
    database: str, share: Share
) -> None:
    fuzzer, kept = Fuzzer(share.seed, PLAIN), Kept()
    contexts = [
        Context(INTEGRATION, Topics.parse(None), Liveness(event_time=event_time), paths)
        for event_time in (False, True)
        for paths in ({}, {"battery_level": "data.v", "firmware": "state", "ts": "x.y.z"})
    ]
    for n in range(share.count):
        payload, context = fuzzer.payload(), fuzzer.chance.choice(contexts)
        topic = f"devices/d{n % 50}/" + fuzzer.chance.choice(("telemetry", "connection", "status"))
        publish = Publish(topic, payload, 1, fuzzer.chance.random() < 0.2, False, 1, NOW + n, len(payload))
        heard = fuzzer.chance.choice((None, 0, HEARD, NOW))
        decoded = in_a_moment(partial(decode, publish, context, heard))
        sound(decoded, n, kept)
    await assert_taken(database, kept)


@pytest.mark.parametrize("shape", sorted(DECODERS))
async def test_no_webhook_raises_and_the_database_takes_what_they_say(
    database: str, share: Share, shape: str
) -> None:
    samples = [sample.request for sample in SAMPLES if sample.shape == shape]
    fuzzer, kept = Fuzzer(share.seed, [one.body or b"{}" for one in samples]), Kept()
    context = WebhookContext(INTEGRATION, Liveness(), {"battery": "data.v", "pressure": "p"})
    for n in range(share.count):
        headers = {**fuzzer.chance.choice(samples).headers, **fuzzer.headers()}
        request = Request(fuzzer.payload(), headers, NOW + 1_000 * n)
        outcome = in_a_moment(partial(DECODERS[shape], request, context))
        if not isinstance(outcome, Handshake):
            for event in outcome:
                assert event.id is None or event.id.isprintable()
                sound(event.decoded, n, kept)
    await assert_taken(database, kept)


def sound(decoded: Decoded, n: int, kept: Kept) -> None:
    """Assert what must hold of every outcome, and keep the observations of some."""
    assert_tellable(decoded)
    for observation in decoded.observations:
        assert_fits_columns(observation)
    if len(kept) < KEPT_AT_LEAST or n % KEPT_ONE_IN == 0:
        kept += decoded.observations


async def assert_taken(database: str, kept: Kept) -> None:
    """Apply it as the committer does: a refusal of the database is an exception here."""
    assert kept
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        integration: UUID = await pool.fetchval(
            "with o as (insert into organizations (name, slug) values ('o', 'o') returning id)"
            " insert into device_integrations (organization_id, integration_type, name)"
            " select id, 'mqtt', 'm' from o returning id"
        )
        identities, applier = Identities(pool), Applier(pool)
        for part in parts(kept):
            seen: dict[DeviceKey, Evidence] = {}
            coalesce(part, seen)
            found = await identities.resolve(integration, list(seen), UnknownPolicy())
            batch = Batch()
            for key, device in found.items():
                batch.add(device, Target(OFFLINE_AFTER), seen[key])
            assert await applier.commit(batch) == []
        assert await pool.fetchval("select count(*) from devices")


def parts(kept: Kept) -> Iterator[Kept]:
    """Yield it in batches."""
    for start in range(0, len(kept), APPLIED_AT_ONCE):
        yield kept[start : start + APPLIED_AT_ONCE]
