"""Hostile and broken senders achieve nothing but dead events and field errors."""

import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import cbor2
import orjson
import pytest

from handlers.events import SECOND, Decoded, Liveness
from handlers.webhooks.delivery import Context, Event, Handshake, Request
from handlers.webhooks.shapes import DECODERS, decode
from tests.handlers.limits import assert_fits_columns, assert_tellable
from tests.handlers.webhooks.samples import CONTEXT, INTEGRATION, NOW

PIPELINES = {"ce-source": "d1", "ce-type": "io.golioth.data.v1/.s/sensor", "content-type": "application/cbor"}


def events(body: bytes, shape: str = "generic", headers: dict[str, str] | None = None) -> tuple[Event, ...]:
    outcome = DECODERS[shape](Request(body, headers or {}, NOW), CONTEXT)
    assert not isinstance(outcome, Handshake)
    for event in outcome:
        assert_tellable(event.decoded)
        for observation in event.decoded.observations:
            assert_fits_columns(observation)
    return outcome


def only(body: bytes, shape: str = "generic", headers: dict[str, str] | None = None) -> Decoded:
    (event,) = events(body, shape, headers)
    return event.decoded


def kind(decoded: Decoded) -> str | None:
    return decoded.dead.kind if decoded.dead else None


@pytest.mark.parametrize("shape", sorted(DECODERS.keys() - {"golioth_pipelines"}))
@pytest.mark.parametrize(
    "body, wanted",
    [
        (b"", "json"),
        (b"\xff\xfe", "json"),
        (b"[" * 100_000, "json"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "json"),
        (b'{"battery": 1,}', "json"),
        (b"NaN", "json"),
        (b"\x1f\x8b\x08", "json"),
        (b'"text"', "shape"),
        (b"null", "shape"),
    ],
)
def test_a_body_that_is_no_event_is_one_dead_event(shape: str, body: bytes, wanted: str) -> None:
    (event,) = events(body, shape)
    assert kind(event.decoded) == wanted
    assert event.original == body


@pytest.mark.parametrize("shape", sorted(DECODERS.keys() - {"golioth_pipelines"}))
def test_a_thousand_events_are_taken_and_one_more_is_refused_as_a_whole(shape: str) -> None:
    assert len(events(b"[" + b"{}," * 999 + b"{}]", shape)) == 1000
    assert kind(only(b"[" + b"{}," * 1000 + b"{}]", shape)) == "shape"


def test_a_request_holds_a_thousand_messages_in_all() -> None:
    def event(entries: int) -> dict[str, object]:
        data = [{}] * entries
        return {"specversion": "1.0", "type": "t", "source": "s", "id": "i", "subject": "d", "data": data}

    assert len(only(orjson.dumps(event(1000)), "cloudevents").observations) == 1000
    assert kind(only(orjson.dumps(event(1001)), "cloudevents")) == "shape"
    fits, too_many = events(orjson.dumps([event(500), event(501)]), "cloudevents")
    assert len(fits.decoded.observations) == 500
    assert kind(too_many.decoded) == "shape"


@pytest.mark.parametrize("first, last", [("online", "offline"), ("offline", "online")])
def test_of_two_events_without_times_the_later_one_in_the_array_counts(first: str, last: str) -> None:
    body = orjson.dumps([{"device_id": "d", "status": first}, {"device_id": "d", "status": last}])
    before, after = (event.decoded.observations[0] for event in events(body))
    assert (before.presence, after.presence) == (first, last)
    assert before.seen_at < after.seen_at


def test_an_empty_array_holds_no_event() -> None:
    assert events(b"[]") == ()


def test_an_event_nested_too_deeply_to_be_written_again_keeps_its_own_bytes() -> None:
    deep = b'{"device_id": "a]", "x": ' + b"[" * 900 + b'"\\"}"' + b"]" * 900 + b"}"
    first, second, third = events(b'[{"device_id": "b"} , ' + deep + b', "c,"]')
    assert first.original == b'{"device_id": "b"}'
    assert second.original == deep
    assert third.original == b'"c,"'
    assert second.decoded.observations[0].device.external_id == "a]"


def test_of_a_key_written_twice_the_last_counts() -> None:
    decoded = only(b'{"device_id": "a", "battery": 1, "device_id": "b", "battery": 2}')
    (seen,) = decoded.observations
    assert (seen.device.external_id, seen.battery_level) == ("b", 2)


@pytest.mark.parametrize("device", ["", " ", "x" * 256, "a\0b", True, 1.5, [], {}, 10**30])
def test_a_device_id_that_cannot_be_one_is_a_dead_event(device: object) -> None:
    body = orjson.dumps({"device_id": device}) if device != 10**30 else b'{"device_id": 1' + b"0" * 30 + b"}"
    assert kind(only(body)) == "device_id"


def test_a_long_event_id_becomes_its_digest_and_an_odd_one_none() -> None:
    event = {"specversion": "1.0", "type": "t", "source": "s", "subject": "d", "data": {}}
    ids = [
        events(orjson.dumps({**event, "id": one}), "cloudevents")[0].id for one in ("a" * 5000, "ü", 5, "")
    ]
    assert [len(one) if one else None for one in ids] == [64, 64, None, None]


@pytest.mark.parametrize(
    "body",
    [
        b"\x81" * 100_000 + b"\x00",
        bytes.fromhex("d81c81d81d00"),
        b"\xd8\x1c\x98\x20" + b"\xd8\x1d\x00" * 32,
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x7b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\xc0\x61\x61",
        b"",
        b"\xff",
        cbor2.dumps({"x": cbor2.CBORTag(999, [1] * 3)})[:-1],
    ],
)
def test_a_cbor_bomb_is_a_dead_event(body: bytes) -> None:
    assert kind(only(body, "golioth_pipelines", PIPELINES)) == "payload"


def test_shared_references_cannot_grow_a_cbor_message_beyond_its_bytes() -> None:
    shared, reference = b"\xd8\x1c", b"\xd8\x1d"
    lists = [shared + b"\x90" + (reference + bytes([level])) * 16 for level in range(11)]
    body = b"\x8c" + shared + b"\x80" + b"".join(lists)
    assert len(cbor2.loads(body)[-1][0][0][0]) == 16
    tracemalloc.start()
    assert kind(only(body, "golioth_pipelines", PIPELINES)) == "payload"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_what_cbor_has_and_json_has_not_costs_only_its_field() -> None:
    body = cbor2.dumps(
        {
            "battery": Decimal(50), "ts": datetime(2026, 2, 15, 17, tzinfo=UTC), "half": Fraction(1, 2),
            "big": 10**400, "nan": float("nan"), "bytes": b"\0", "set": {1}, "none": None, (1, 2): 3, 9: 9,
        }
    )  # fmt: skip
    decoded = only(body, "golioth_pipelines", PIPELINES)
    (seen,) = decoded.observations
    assert (seen.battery_level, seen.at) == (50, NOW - 300 * SECOND)
    assert {one.name: one.value for one in seen.readings} == {"half": 0.5, "9": 9.0}
    assert [error.field for error in decoded.field_errors] == ["nan"]


@pytest.mark.parametrize("tag", [55799, 999])
def test_a_tagged_object_of_cbor_is_read_as_the_object(tag: int) -> None:
    for value in ({"battery": 7}, {"data": cbor2.CBORTag(tag, {"battery": 7})}):
        (seen,) = only(cbor2.dumps(cbor2.CBORTag(tag, value)), "golioth_pipelines", PIPELINES).observations
        assert seen.battery_level == 7


@pytest.mark.parametrize(
    "metadata, kept, errors",
    [
        (
            {"a": 1, "b": "x", "c": None, "d": [1, {"e": True}]},
            {"a": 1, "b": "x", "c": None, "d": [1, {"e": True}]},
            0,
        ),
        ({"a": "x" * 2000, "b": 1}, {"b": 1}, 1),
        ({"a": "\0", "b": "\\u0000", "c\0": 1, "": 2}, {"b": "\\u0000"}, 3),
        ({f"k{n:03}": n for n in range(70)}, {f"k{n:03}": n for n in range(64)}, 1),
        ({f"k{n:03}": "x" * 1000 for n in range(20)}, {f"k{n:03}": "x" * 1000 for n in range(16)}, 1),
        ([1], None, 1),
        ("x", None, 1),
    ],
)
def test_metadata_is_bounded_and_each_value_that_cannot_be_stored_costs_only_itself(
    metadata: object, kept: object, errors: int
) -> None:
    body = {"event": "device.created", "device": {"id": "d", "metadata": metadata}}
    decoded = only(orjson.dumps(body), "golioth_platform")
    facts = decoded.observations[0].facts
    assert facts
    assert facts.metadata == kept
    assert len(decoded.field_errors) == errors


@pytest.mark.parametrize(
    "time, at_event_time, seen_at, skewed",
    [
        (NOW - 3600 * SECOND, False, NOW - 3600 * SECOND, False),
        (NOW + 300 * SECOND, False, NOW + 300 * SECOND, False),
        (NOW + 301 * SECOND, False, NOW, True),
        (12 * SECOND, True, NOW, True),
    ],
)
def test_a_clouds_clock_is_trusted_for_presence_where_it_is_usable(
    time: int, at_event_time: bool, seen_at: int, skewed: bool
) -> None:
    body = orjson.dumps({"clientId": "d", "eventType": "disconnected", "timestamp": time // 1000})
    context = Context(INTEGRATION, Liveness(event_time=at_event_time))
    outcome = decode(Request(body, {}, NOW), context)
    assert not isinstance(outcome, Handshake)
    (seen,) = outcome[0].decoded.observations
    assert (seen.seen_at, seen.at, outcome[0].decoded.skewed) == (seen_at, seen_at, skewed)


@pytest.mark.parametrize("event_time", [False, True])
def test_a_devices_clock_counts_for_presence_only_with_liveness_event_time(event_time: bool) -> None:
    body = orjson.dumps({"device_id": "d", "ts": NOW // 1000 - 60_000})
    outcome = decode(Request(body, {}, NOW), Context(INTEGRATION, Liveness(event_time=event_time)))
    assert not isinstance(outcome, Handshake)
    (seen,) = outcome[0].decoded.observations
    assert seen.at == NOW - 60 * SECOND
    assert seen.seen_at == (seen.at if event_time else NOW)


def test_field_paths_find_values_and_the_device_anywhere() -> None:
    context = Context(INTEGRATION, field_paths={"battery": "m.power", "device_id": "meta.id"})
    outcome = decode(Request(b'{"m": {"power": 12}, "meta": {"id": "d7"}}', {}, NOW), context)
    assert not isinstance(outcome, Handshake)
    (seen,) = outcome[0].decoded.observations
    assert (seen.device.external_id, seen.battery_level) == ("d7", 12)


def test_a_payload_that_names_another_device_than_its_envelope_loses() -> None:
    body = orjson.dumps({"data": {"device_id": "d2", "battery": 4}, "device_id": "d1", "project_id": "p"})
    decoded = only(body, "golioth_stream")
    assert decoded.observations[0].device.external_id == "d1"
    assert [error.field for error in decoded.field_errors] == ["device_id"]
