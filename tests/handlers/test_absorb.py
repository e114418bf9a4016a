"""A publish straight into its device's evidence gives what decoding and coalescing give."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.dialects import absorb as module
from handlers.dialects.absorb import absorb
from handlers.dialects.plain import Context, decode
from handlers.events import DeviceKey, Publish
from handlers.evidence import Evidence, coalesce
from handlers.parked import to_parked
from handlers.topics import Topics
from tests.handlers.test_plain import INTEGRATION, NOW
from tests.handlers.test_plain_fuzz import bodies, contexts, heard, plain_bodies

topics = st.sampled_from(
    [
        "devices/d1/telemetry",
        "devices/d2/telemetry",
        "devices/d1/connection",
        "devices//telemetry",
        "elsewhere",
    ]
)
moments = st.one_of(st.integers(NOW - 10**9, NOW + 10**9), st.integers(0, 2**62))
spoken = st.builds(lambda body, ts: {**body, "ts": ts}, plain_bodies, moments)
batches = st.lists(spoken | plain_bodies, max_size=4)
almost = st.sampled_from(
    [
        b'{"battery":nan,"rssi":-5}',
        b'\xef\xbb\xbf{"battery":9}\0',
        b'[{"fw":"\xff","ts":1},{"x":1e999}]',
        b"\0",
        b"\x1f\x8b",
    ]
)
payloads = (
    (spoken | plain_bodies | bodies | batches | st.just("offline")).map(orjson.dumps)
    | st.binary(max_size=20)
    | almost
)


@st.composite
def publishes(draw: st.DrawFn) -> Publish:
    payload, retain = draw(payloads), draw(st.integers(0, 6)) == 0
    more = 1 if draw(st.integers(0, 9)) == 0 else 0
    return Publish(
        draw(topics), payload, 1, retain, False, 1, NOW + draw(st.integers(0, 5)), len(payload) + more
    )


def forms(devices: dict[DeviceKey, Evidence]) -> dict[DeviceKey, dict[str, Any]]:
    return {key: to_parked(evidence) for key, evidence in devices.items()}


@given(st.lists(publishes(), max_size=8), contexts, heard)
def test_it_says_what_decoding_and_coalescing_say(
    said: list[Publish], context: Context, heard_until: int | None
) -> None:
    quick: dict[DeviceKey, Evidence] = {}
    careful: dict[DeviceKey, Evidence] = {}
    for publish in said:
        told = absorb(publish, context, heard_until, quick)
        decoded = decode(publish, context, heard_until)
        coalesce(decoded.observations, careful)
        assert told[1:] == decoded[1:]
        assert forms(quick) == forms(careful)


def test_the_commonest_telemetry_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_coalesced", None)
    payload = b'{"battery": 87, "rssi": -71, "ts": %d}' % NOW
    devices: dict[DeviceKey, Evidence] = {}
    publish = Publish("devices/d1/telemetry", payload, 1, False, False, 1, NOW, len(payload))
    absorb(publish, Context(INTEGRATION, Topics.parse(None)), None, devices)
    assert devices[DeviceKey("d1")].battery == (NOW, 87)


@pytest.mark.parametrize(
    "payload, topic, retain, size, paths",
    [
        (b'{"battery":7}', "devices/d1/telemetry", False, 0, {}),
        (b'{"battery":7}', "devices/d1/telemetry", True, 0, {}),
        (b'{"battery":7}', "devices/d1/telemetry", False, 1, {}),
        (b'{"battery":7}', "devices/d1/telemetry", False, 0, {"battery": "x"}),
        (b'{"battery":7}', "devices//telemetry", False, 0, {}),
        (b'{"battery":7}', "elsewhere", False, 0, {}),
        (b'{"battery":7,"device":"d1","x":1}', "devices/d1/telemetry", False, 0, {}),
        (b'{"battery":7,"device":"d2"}', "devices/d1/telemetry", False, 0, {}),
        (b'{"fw":"1","ts":5}', "devices/d1/telemetry", False, 0, {}),
        (b'{"battery":7,"ts":5}', "devices/d1/telemetry", False, 0, {}),
        (b"[{}]", "devices/d1/telemetry", False, 0, {}),
        (b"", "devices/d1/telemetry", False, 0, {}),
        (b'{"battery":nan}', "devices/d1/telemetry", False, 0, {}),
        (b"offline", "devices/d1/connection", False, 0, {}),
        (b"online", "devices/d1/status", True, 0, {}),
    ],
)
def test_each_kind_of_message_is_told_and_gathered_as_by_decoding(
    payload: bytes, topic: str, retain: bool, size: int, paths: dict[str, str]
) -> None:
    publish = Publish(topic, payload, 1, retain, False, 1, NOW, len(payload) + size)
    context = Context(INTEGRATION, Topics.parse(None), field_paths=paths)
    quick: dict[DeviceKey, Evidence] = {}
    careful: dict[DeviceKey, Evidence] = {}
    wanted = decode(publish, context, None)
    coalesce(wanted.observations, careful)
    assert absorb(publish, context, None, quick)[1:] == wanted[1:]
    assert forms(quick) == forms(careful)
