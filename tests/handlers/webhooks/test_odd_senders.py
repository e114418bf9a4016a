"""Bodies that clouds and customers really send: marks, text inside text, attributes in headers, own words."""

import base64
import dataclasses
from typing import Any

import cbor2
import orjson
import pytest

from handlers.events import SECOND, Decoded, Liveness, Presence
from handlers.webhooks.delivery import Context, Event, Handshake, Request
from handlers.webhooks.shapes import decode
from handlers.words import vocabulary
from tests.handlers.limits import assert_tellable
from tests.handlers.webhooks.samples import CONTEXT, INTEGRATION, NOW

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE
BOM = b"\xef\xbb\xbf"
EVENT = {"specversion": "1.0", "id": "1", "source": "/c", "type": "t", "subject": "d"}


def events(
    body: object, headers: dict[str, str] | None = None, context: Context = CONTEXT
) -> tuple[Event, ...]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    outcome = decode(Request(raw, headers or {}, NOW), context)
    assert not isinstance(outcome, Handshake)
    for event in outcome:
        assert_tellable(event.decoded)
    return outcome


def only(body: object, headers: dict[str, str] | None = None, context: Context = CONTEXT) -> Decoded:
    (event,) = events(body, headers, context)
    return event.decoded


def failed(decoded: Decoded) -> list[str]:
    return [error.field for error in decoded.field_errors]


@pytest.mark.parametrize(
    "body",
    [
        {"device_id": "d", "battery": 33},
        {**EVENT, "data": {"battery": 33}},
        {"event": "device.telemetry", "device": {"id": "d"}, "telemetry": {"battery": 33}},
        {"data": {"battery": 33}, "device_id": "d", "project_id": "p", "timestamp": 1771175100},
    ],
)
@pytest.mark.parametrize("before, after", [(BOM, b""), (b"", b"\0"), (BOM, b"\r\n\0")])
def test_a_mark_before_and_nuls_after_a_body_never_cost_an_event(
    body: dict[str, Any], before: bytes, after: bytes
) -> None:
    (seen,) = only(before + orjson.dumps(body) + after).observations
    assert (seen.device.external_id, seen.battery_level) == ("d", 33)


def test_one_bad_value_of_one_event_never_costs_the_others() -> None:
    first, second, third = events(
        b'[{"device_id":"a","battery":nan,"rssi":-5},{"device_id":"b","fw":"\xff"},{"device_id":"c","rssi":-7}]'
    )
    assert failed(first.decoded) == ["battery"]
    assert first.decoded.observations[0].signal_strength == -5
    assert failed(second.decoded) == ["fw"]
    assert third.decoded.field_errors == ()
    assert first.original == b'{"device_id":"a","battery":nan,"rssi":-5}'


@pytest.mark.parametrize("media", ["text/plain", "application/json", None])
@pytest.mark.parametrize(
    "data",
    [
        '{"battery":33,"status":"offline","ts":1771175000}',
        ' [{"battery":33,"status":"offline","ts":1771175000}]',
    ],
)
def test_an_object_as_text_never_hides_what_it_says(media: str | None, data: str) -> None:
    offline, measured = only({**EVENT, "datacontenttype": media, "data": data}).observations
    assert (offline.presence, measured.battery_level) == (OFFLINE, 33)


def test_text_that_is_none_stays_text() -> None:
    assert only({**EVENT, "data": "offline"}).observations[0].presence is OFFLINE
    dead = only({**EVENT, "datacontenttype": "application/json", "data": "{broken"}).dead
    assert dead is not None
    assert dead.kind == "payload"


def test_generic_reads_an_object_as_text() -> None:
    (seen,) = only({"id": 1, "payload": '{"device_id":"d","battery":12}'}).observations
    assert (seen.device.external_id, seen.battery_level) == ("d", 12)


HEADERS = {
    "ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/cloud/a", "ce-type": "com.example.reading",
    "ce-subject": "devices/caf%C3%A9", "ce-time": "2026-02-15T17:00:00Z", "content-type": "application/json",
}  # fmt: skip


def test_attributes_in_headers_are_an_event_of_any_sender() -> None:
    (event,) = events(b'{"battery":20,"hum":40.5}', HEADERS)
    (seen,) = event.decoded.observations
    assert (event.id, event.name) == ("e-1 /cloud/a", "com.example.reading")
    assert (seen.device.external_id, seen.battery_level) == ("café", 20)
    assert seen.seen_at == NOW - 300 * SECOND


@pytest.mark.parametrize(
    "body, media",
    [
        (b"", "application/json"),
        (b"online", "text/plain"),
        (cbor2.dumps({"battery": 3}), "application/cbor"),
        (BOM + b'{"status":"connected"}', "application/json; charset=utf-8"),
    ],
)
def test_the_data_of_binary_mode_is_whatever_its_type_says(body: bytes, media: str) -> None:
    (seen,) = only(body, {**HEADERS, "content-type": media}).observations
    assert seen.presence is ONLINE


def test_binary_mode_without_a_type_or_with_a_broken_body_is_dead_and_keeps_its_id() -> None:
    (event,) = events(b"{", HEADERS)
    assert (event.id, event.decoded.dead and event.decoded.dead.kind) == ("e-1 /cloud/a", "payload")
    dead = only(b"{}", {name: value for name, value in HEADERS.items() if name != "ce-type"}).dead
    assert dead is not None
    assert dead.kind == "shape"


@pytest.mark.parametrize(
    "event", ["client.disconnected", "device.disconnected", "device_offline", "disconnect"]
)
def test_no_sender_that_says_disconnected_makes_a_device_online(event: str) -> None:
    (seen,) = only({"device_id": "d", "event": event, "reason": "tcp_closed"}).observations
    assert seen.presence is OFFLINE


@pytest.mark.parametrize("wrap", [lambda body: body, lambda body: {**EVENT, "data": body}])
def test_an_unknown_word_is_no_evidence_and_the_values_beside_it_count(wrap: Any) -> None:
    decoded = only(wrap({"device_id": "d", "event": "client.connack", "battery": 5}))
    (seen,) = decoded.observations
    assert (seen.presence, seen.battery_level) == (None, 5)
    assert failed(decoded) == ["event"]
    silent = only(wrap({"device_id": "d", "event": "client.connack"}))
    assert (silent.observations, silent.dead, failed(silent)) == ((), None, ["event"])


def test_words_of_the_integration_count_in_webhooks() -> None:
    context = dataclasses.replace(CONTEXT, words=vocabulary(["up"], ["down"]))
    for word, presence in (("UP", ONLINE), ("down", OFFLINE)):
        assert only({"device_id": "d", "state": word}, context=context).observations[0].presence is presence


@pytest.mark.parametrize("more", [{}, {"principalIdentifier": "p", "reason": "AUTHORIZATION_FAILED"}])
def test_a_connection_that_aws_refused_changes_nothing_and_is_no_dead_letter(more: dict[str, str]) -> None:
    (event,) = events({"clientId": "d", "eventType": "connect_failed", "timestamp": 1771174800123, **more})
    assert (event.decoded, event.name) == (Decoded(), "connect_failed")


def telemetry(body: str, **system: str) -> Decoded:
    kind = {"iothub-content-type": "application/json", "iothub-connection-device-id": "d", **system}
    data = {"body": body, "systemProperties": kind}
    return only([{"id": "1", "eventType": "Microsoft.Devices.DeviceTelemetry", "data": data}])


@pytest.mark.parametrize(
    "body, encoding",
    [
        (BOM + b'{"battery":9}', "utf-8"),
        (b'{"battery":9}\0', "utf-8"),
        ('{"battery":9}'.encode("utf-16"), "utf-16"),
        ('{"battery":9}'.encode("utf-32"), "UTF-32"),
    ],
)
def test_a_body_of_event_grid_is_read_by_its_encoding(body: bytes, encoding: str) -> None:
    decoded = telemetry(base64.b64encode(body).decode(), **{"iothub-content-encoding": encoding})
    assert decoded.observations[0].battery_level == 9


@pytest.mark.parametrize("body", ["!", base64.b64encode('{"battery":9}'.encode("utf-16")).decode()])
def test_a_body_of_event_grid_that_cannot_be_read_is_kept_as_a_dead_letter(body: str) -> None:
    dead = telemetry(body).dead
    assert dead is not None
    assert dead.kind == "payload"


def test_a_second_item_of_cbor_is_never_left_out_in_silence() -> None:
    headers = {"ce-source": "d", "ce-type": "io.golioth.data.v1/.s/x", "content-type": "application/cbor"}
    item = cbor2.dumps({"battery": 9})
    assert only(item + b"\0", headers).observations[0].battery_level == 9
    dead = only(item + item, headers).dead
    assert dead is not None
    assert "bytes follow" in dead.error


def test_a_batch_of_one_device_counts_in_its_order_and_at_its_own_times() -> None:
    data = [{"fw": "1.9.0", "battery": 90}, {"fw": "1.10.0", "battery": 80}]
    found = only({**EVENT, "time": "2026-02-15T17:00:00Z", "data": data}).observations
    at = NOW - 300 * SECOND
    assert [(one.at, one.seen_at, one.battery_level) for one in found] == [(at - 1, at - 1, 90), (at, at, 80)]
    offline = only({**EVENT, "data": [{"status": "online"}, {"status": "offline"}]}).observations
    assert [(one.presence, one.seen_at) for one in offline] == [(ONLINE, NOW - 1), (OFFLINE, NOW)]


def test_a_devices_clock_that_fell_back_never_dates_a_value_and_the_clouds_does() -> None:
    old = "2020-01-01T00:00:00Z"
    (seen,) = only({**EVENT, "time": "2026-02-15T17:00:00Z", "data": {"battery": 5, "ts": old}}).observations
    assert seen.at == NOW - 300 * SECOND
    context = Context(INTEGRATION, Liveness(event_time=True))
    (seen,) = only({"device_id": "d", "battery": 5, "ts": old}, context=context).observations
    assert (seen.at, seen.seen_at) == (NOW, NOW)
    (seen,) = only({"clientId": "d", "eventType": "connected", "timestamp": old}).observations
    assert seen.seen_at < NOW - 365 * 86_400 * SECOND
