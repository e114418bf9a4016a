"""Webhooks at both sides of each bound: ids, counts, codes, keys, times and what their senders may leave out."""

import base64
from typing import Any

import cbor2
import orjson
import pytest

from handlers.events import SECOND, DeviceKey, FieldError, Liveness, Presence, Reading
from handlers.webhooks import payload
from handlers.webhooks.delivery import Context, Event, Handshake, Request, event_id
from handlers.webhooks.observing import cloud_time
from handlers.webhooks.shapes import DECODERS
from tests.handlers.webhooks.samples import CONTEXT, INTEGRATION, NOW

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


def outcome(
    body: object, shape: str, headers: dict[str, str] | None = None, context: Context = CONTEXT
) -> Any:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return DECODERS[shape](Request(raw, headers or {}, NOW), context)


def only(body: object, shape: str = "generic", headers: dict[str, str] | None = None) -> Event:
    (event,) = outcome(body, shape, headers)
    return event


def failed(event: Event) -> list[str]:
    return [error.field for error in event.decoded.field_errors]


def test_an_id_has_at_most_200_characters_and_is_else_a_digest() -> None:
    assert event_id("i" * 198, "s") == "i" * 198 + " s"
    for long in ("i" * 199, "ü", "a\nb"):
        digest = event_id(long, "s")
        assert digest != f"{long} s"
        assert digest is not None
        assert len(digest) == 64
    assert event_id("i", None) is event_id("", "s") is event_id(5) is None


def test_the_entries_of_a_body_have_ids_bytes_and_times_of_their_own() -> None:
    body = b'[{"device_id":"a"}, {"device_id":"b"}]'
    first, second = outcome(body, "generic", {"webhook-id": "w"})
    assert (first.id, second.id) == ("w 0", "w 1")
    assert (first.original, second.original) == (b'{"device_id":"a"}', b'{"device_id":"b"}')
    times = [event.decoded.observations[0].received_at for event in (first, second)]
    assert times == [NOW, NOW + 1]
    assert only({"device_id": "a"}, "generic", {"webhook-id": "w"}).id == "w"
    assert only({"device_id": "a", "event_id": "e"}).id == "e generic"


def test_a_thousand_messages_fit_into_the_events_of_a_request_in_equal_parts() -> None:
    def stream(*entries: int) -> list[dict[str, object]]:
        return [
            {"device_id": "d", "project_id": "p", "timestamp": 1, "data": [{}] * count} for count in entries
        ]

    for event in outcome(stream(333, 333, 333), "golioth_stream"):
        assert len(event.decoded.observations) == 333
    assert [event.decoded.dead is None for event in outcome(stream(333, 334, 1), "golioth_stream")] == [
        True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "timestamp, seen_at",
    [
        ({"seconds": 1_771_175_000, "nanos": 999_999_999}, 1_771_175_000 * SECOND + 999_999),
        ({"seconds": "1771175000", "nanos": 0}, 1_771_175_000 * SECOND),
        ({"seconds": 1_771_175_000}, 1_771_175_000 * SECOND),
        ({"seconds": "0" * 10 + "1771175000"}, 1_771_175_000 * SECOND),
        ("2026-02-15T17:04:00Z", NOW - 60 * SECOND),
    ],
)
def test_the_time_of_a_stream_is_seconds_and_nanoseconds_or_a_usual_time(
    timestamp: Any, seen_at: int
) -> None:
    event = only({"device_id": "d", "timestamp": timestamp, "data": {}}, "golioth_stream")
    assert event.decoded.observations[0].seen_at == seen_at
    assert failed(event) == []


@pytest.mark.parametrize(
    "timestamp",
    [
        {"seconds": 1, "nanos": 10**9}, {"seconds": 10**12}, {"seconds": -1}, {"seconds": True}, {},
        {"seconds": "0" * 11 + "1771175000"}, {"seconds": "x"}, {"seconds": 1, "nanos": None},
    ],
)  # fmt: skip
def test_a_time_of_a_stream_that_is_none_is_an_error_and_the_header_counts(timestamp: Any) -> None:
    body = {"device_id": "d", "timestamp": timestamp, "data": {"x": 1}}
    event = only(body, "golioth_stream", {"ce-time": "2026-02-15T17:04:00Z"})
    assert failed(event) == ["timestamp"]
    assert event.decoded.observations[0].seen_at == NOW - 60 * SECOND


def test_the_largest_time_of_a_stream_is_no_error_of_its_form() -> None:
    event = only({"device_id": "d", "timestamp": {"seconds": 10**12 - 1}, "data": {}}, "golioth_stream")
    assert failed(event) == []
    assert event.decoded.skewed


@pytest.mark.parametrize(
    "code, usable", [("c" * 512, True), ("c" * 513, False), ("", False), ("c\n", False), (5, False)]
)
def test_a_validation_code_of_event_grid_has_1_to_512_printable_characters(code: Any, usable: bool) -> None:
    kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
    answer = outcome([{"eventType": kind, "data": {"validationCode": code}}], "azure_event_grid")
    assert (answer == Handshake("azure_validation", code=code)) is usable
    assert usable or answer[0].decoded.dead.kind == "shape"


@pytest.mark.parametrize("level", [b"\x81", b"\xa1\x61x", b"\xd9\x03\xe7"], ids=["list", "object", "tag"])
def test_cbor_is_read_64_levels_deep(level: bytes) -> None:
    assert payload.loads(level * 64 + b"\x01", "application/cbor", []) is not None
    with pytest.raises(ValueError, match="nested deeper than 64"):
        payload.loads(level * 65 + b"\x01", "a/b+cbor", [])


@pytest.mark.parametrize(
    "value, read_as",
    [
        (2**64 - 1, 2**64 - 1), (2**64, 2.0**64), (-(2**64) + 1, -(2**64) + 1), (-(2**64), -(2.0**64)),
        ({2**64 - 1: 1, 2**64: 2, -(2**64): 3, 1 - 2**64: 4}, {str(2**64 - 1): 1, str(1 - 2**64): 4}),
    ],
)  # fmt: skip
def test_a_number_of_cbor_has_64_bits_or_is_a_double(value: Any, read_as: object) -> None:
    found = payload.loads(cbor2.dumps(value), "application/cbor", [])
    assert (found, type(found)) == (read_as, type(read_as))


def test_each_value_of_a_cbor_message_may_have_one_byte() -> None:
    body = cbor2.dumps([1] * 23)
    assert payload.loads(body, "application/cbor", []) == [1] * 23
    assert payload.loads(body + b"\0\0", "application/cbor", []) == [1] * 23
    with pytest.raises(ValueError, match="1 bytes follow"):
        payload.loads(body + b"\1", "application/cbor", [])


def pipeline(body: bytes, media: str = "text/plain") -> Event:
    headers = {"ce-source": "d", "ce-type": "io.golioth.data.v1/.s/temp", "content-type": media}
    return only(body, "golioth_pipelines", headers)


@pytest.mark.parametrize(
    "text, readings, presence",
    [
        (b"23.5", (Reading("temp", 23.5),), ONLINE),
        (b" -5 ", (Reading("temp", -5.0),), ONLINE),
        (b"1", (Reading("temp", 1.0),), ONLINE),
        (b"0", (Reading("temp", 0.0),), ONLINE),
        (b"offline", (), OFFLINE),
        (b"online", (), ONLINE),
        (b"hello", (), ONLINE),
        (b"0" * 24 + b"7." + b"0" * 30, (Reading("temp", 7.0),), ONLINE),
        (b"0" * 25 + b"7", (), ONLINE),
        (b"0" * 24 + b"7." + b"0" * 30 + b"e-07", (Reading("temp", 7e-7),), ONLINE),
    ],
)
def test_a_bare_number_is_a_reading_of_its_topic_and_a_bare_word_is_presence(
    text: bytes, readings: object, presence: Presence
) -> None:
    (seen,) = pipeline(text).decoded.observations
    assert (seen.readings, seen.presence) == (readings, presence)


def test_a_batch_of_a_cloud_counts_in_its_order_up_to_the_clouds_time() -> None:
    body = {"device_id": "d", "timestamp": NOW // SECOND - 60, "data": [{"x": 1}, {"x": 2}, 5, {"x": "y"}]}
    event = only(body, "golioth_stream")
    cloud = NOW - 60 * SECOND
    assert [seen.at for seen in event.decoded.observations] == [cloud - 2, cloud - 1, cloud]
    assert [seen.seen_at for seen in event.decoded.observations] == [cloud - 2, cloud - 1, cloud]
    assert failed(event) == ["[2]"]


def test_a_batch_of_a_cloud_whose_clock_is_not_usable_is_of_when_it_came_and_skewed() -> None:
    body = {"device_id": "d", "timestamp": NOW // SECOND + 301, "data": [{"x": 1}, {"x": 2}]}
    event = only(body, "golioth_stream")
    assert [seen.seen_at for seen in event.decoded.observations] == [NOW - 1, NOW]
    assert event.decoded.skewed


@pytest.mark.parametrize("event_time", [False, True])
def test_entries_with_times_of_their_own_are_present_at_them_only_with_liveness_event_time(
    event_time: bool,
) -> None:
    context = Context(INTEGRATION, Liveness(event_time=event_time))
    data = [{"ts": NOW // 1000 - 5000}, {"ts": NOW // 1000 - 3000}]
    (event,) = outcome({"device_id": "d", "data": data}, "golioth_stream", None, context)
    assert [seen.at - NOW for seen in event.decoded.observations] == [-5 * SECOND, -3 * SECOND]
    seen = [seen.seen_at - NOW for seen in event.decoded.observations]
    assert seen == ([-5 * SECOND, -3 * SECOND] if event_time else [-1, 0])


@pytest.mark.parametrize(
    "status, last_seen, times",
    [
        ("offline", -60, [(0, OFFLINE), (-60, ONLINE)]),
        ("offline", 0, [(0, OFFLINE)]),
        ("offline", 60, [(0, OFFLINE)]),
        ("online", -60, [(0, ONLINE)]),
        ("-", -60, [(0, None), (-60, ONLINE)]),
    ],
)
def test_when_golioth_last_heard_a_device_is_evidence_of_that_time(
    status: str, last_seen: int, times: list[tuple[int, Presence | None]]
) -> None:
    device = {"id": "d", "status": status, "lastSeen": NOW // SECOND + last_seen}
    event = only({"event": "device.status_changed", "device": device}, "golioth_platform")
    told = [((seen.seen_at - NOW) // SECOND, seen.presence) for seen in event.decoded.observations]
    assert told == times


@pytest.mark.parametrize(
    "units, unit", [("C" * 16, "C" * 16), ("C" * 17, ""), (None, ""), (True, ""), (5, "5")]
)
def test_the_unit_of_a_sensor_has_at_most_16_characters(units: Any, unit: str) -> None:
    body = {
        "event": "device.telemetry",
        "device_name": "n",
        "telemetry": {"sensor": "s", "type": "t", "units": units, "value": 1.5, "x": 2},
    }
    (seen,) = only(body, "golioth_platform").decoded.observations
    assert {one.name: (one.value, one.unit) for one in seen.readings} == {"s/t": (1.5, unit), "x": (2.0, "")}


def test_the_first_time_of_a_cloud_that_is_one_counts_and_the_others_before_it_are_errors() -> None:
    errors: list[FieldError] = []
    assert cloud_time({"a": None, "b": "x", "c": 5, "d": 6}, ("a", "b", "c", "d"), errors) == 5 * SECOND
    assert [error.field for error in errors] == ["b"]


def test_the_media_type_of_a_request_is_without_parameters_and_in_lower_case() -> None:
    assert Request(b"", {"content-type": " Text/Plain ; charset=x"}, NOW).content_type == "text/plain"
    assert Request(b"", {}, NOW).content_type == ""


def test_data_of_a_cloudevent_may_be_base64_or_an_object_as_text() -> None:
    event = {"specversion": "1.0", "type": "t", "source": "s", "id": "i", "subject": "devices/d"}
    encoded = base64.b64encode(b'{"battery": 7}').decode()
    for more in ({"data_base64": encoded}, {"data": ' {"battery": 7}'}, {"data": {"battery": 7}}):
        (seen,) = only({**event, **more}, "cloudevents").decoded.observations
        assert (seen.device, seen.battery_level) == (DeviceKey("d"), 7)
    for broken in ("=", 5):
        dead = only({**event, "data_base64": broken}, "cloudevents").decoded.dead
        assert dead
        assert dead.kind == "payload"


def test_a_type_with_parameters_tells_structured_from_binary_mode_too() -> None:
    event = {
        "specversion": "1.0",
        "type": "t",
        "source": "s",
        "id": "i",
        "subject": "d",
        "data": {"battery": 7},
    }
    for media in ("application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"):
        headers = {"ce-specversion": "1.0", "ce-type": "other", "content-type": media}
        assert only(event, "cloudevents", headers).name == "t"
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "other",
        "ce-subject": "d",
        "content-type": "application/json",
    }
    assert only({"battery": 7}, "cloudevents", headers).name == "other"


def test_of_several_names_that_cannot_be_used_the_first_is_told() -> None:
    platform = only({"event": "device.online", "device": {"id": True, "name": 1.5}}, "golioth_platform")
    generic = only({"device_id": True, "serial_number": 1.5})
    for event, told in ((platform, "id is true, not text"), (generic, "device_id is true, not text")):
        assert event.decoded.dead
        assert event.decoded.dead.error.startswith(told)


@pytest.mark.parametrize("body, battery", [("eyJiYXR0ZXJ5Ijo3fQ==", 7), ("eyJiYXR0ZXJ5Ijo3fQ!==", None)])
def test_a_body_of_event_grid_with_a_sign_that_is_not_base64_is_never_guessed(
    body: str, battery: int | None
) -> None:
    data = {"body": body, "systemProperties": {"iothub-connection-device-id": "d"}}
    event = only([{"eventType": "Microsoft.Devices.DeviceTelemetry", "data": data}], "azure_event_grid")
    assert [seen.battery_level for seen in event.decoded.observations] == (
        [] if battery is None else [battery]
    )
    assert (event.decoded.dead is None) is (battery is not None)
