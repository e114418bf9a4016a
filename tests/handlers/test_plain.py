from collections.abc import Mapping
from uuid import UUID

import pytest

from handlers.dialects.plain import Context, decode
from handlers.events import SECOND, Decoded, Liveness, Observation, Presence, Publish, Reading
from handlers.topics import Topics
from tests.handlers.limits import assert_fits_columns, assert_tellable

NOW = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
INTEGRATION = UUID(int=7)
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


def context(paths: Mapping[str, str] | None = None, event_time: bool = False) -> Context:
    return Context(INTEGRATION, Topics.parse(None), Liveness(event_time=event_time), paths or {})


def publish(
    payload: bytes | str, kind: str = "telemetry", retain: bool = False, device: str = "d1"
) -> Publish:
    raw = payload.encode() if isinstance(payload, str) else payload
    return Publish(f"devices/{device}/{kind}", raw, 1, retain, False, 1, NOW, len(raw))


def decoded(payload: bytes | str, kind: str = "telemetry", retain: bool = False) -> Decoded:
    result = decode(publish(payload, kind, retain), context(), None)
    assert_tellable(result)
    for observation in result.observations:
        assert_fits_columns(observation)
    return result


def one(result: Decoded) -> Observation:
    assert result.dead is None
    assert len(result.observations) == 1
    return result.observations[0]


def failed(result: Decoded) -> list[str]:
    return [error.field for error in result.field_errors]


def test_a_usual_message_is_one_online_observation_with_its_values_at_the_devices_time() -> None:
    result = decoded('{"battery":87,"rssi":-71,"fw":"1.4.2","ts":1767225599000,"temp":21.5}')
    assert one(result) == Observation(
        INTEGRATION, one(result).device, NOW - SECOND, NOW, NOW, "mqtt", None, ONLINE, False, 87, -71,
        (("main", "1.4.2"),), (Reading("temp", 21.5),),
    )  # fmt: skip
    assert one(result).device.external_id == "d1"
    assert result.field_errors == ()
    assert not result.skewed


@pytest.mark.parametrize("key", ["battery", "battery_level", "batt", "soc", "BATTERY", "Batt"])
def test_every_alias_of_battery_is_read_in_any_case(key: str) -> None:
    assert one(decoded(f'{{"{key}": 50}}')).battery_level == 50


@pytest.mark.parametrize("key", ["rssi", "signal", "signal_strength", "rsrp", "RSSI"])
def test_every_alias_of_signal_is_read_in_any_case(key: str) -> None:
    assert one(decoded(f'{{"{key}": -90}}')).signal_strength == -90


@pytest.mark.parametrize("key", ["firmware", "fw", "firmware_version", "version", "FW"])
def test_every_alias_of_firmware_is_read_in_any_case(key: str) -> None:
    assert one(decoded(f'{{"{key}": " 1.0 "}}')).firmware == (("main", "1.0"),)


@pytest.mark.parametrize("key", ["ts", "time", "timestamp", "Timestamp"])
def test_every_alias_of_time_is_read_in_any_case(key: str) -> None:
    assert one(decoded(f'{{"{key}": "2025-12-31T23:59:59Z"}}')).at == NOW - SECOND


@pytest.mark.parametrize("outer", ["data", "payload", "state", "telemetry", "Data"])
def test_keys_are_found_inside_the_usual_envelopes(outer: str) -> None:
    result = one(decoded(f'{{"{outer}": {{"battery": 5, "hum": 40, "DATA": {{"rssi": -60}}}}}}'))
    assert (result.battery_level, result.signal_strength) == (5, -60)
    assert result.readings == (Reading("hum", 40.0),)


def test_other_units_are_converted_by_the_documented_rules() -> None:
    result = one(decoded('{"battery_mv": 3840, "csq": 20}'))
    assert (result.battery_level, result.signal_strength) == (50, -73)


def test_firmware_may_be_an_object_of_components() -> None:
    result = one(decoded('{"fw": {"modem": "2.1", "main": "1.0", "gps": null}}'))
    assert result.firmware == (("main", "1.0"), ("modem", "2.1"))


@pytest.mark.parametrize(
    "payload, battery",
    [
        ('{"batt": 1, "battery": 2}', 2),
        ('{"battery": 2, "batt": 1}', 2),
        ('{"data": {"battery": 1}, "soc": 2}', 2),
        ('{"soc": 2, "data": {"battery": 1}}', 2),
        ('{"telemetry": {"battery": 1}, "data": {"battery": 2}}', 2),
        ('{"BATTERY": 1, "battery": 2}', 2),
        ('{"battery": 2, "BATTERY": 1}', 2),
        ('{"Battery": 1, "BATTERY": 2}', 2),
        ('{"BATTERY": 2, "Battery": 1}', 2),
        ('{"battery": 1, "battery": 2}', 2),
        ('{"battery": null, "soc": 2}', 2),
        ('{"battery": "full", "battery_mv": 3840}', 50),
    ],
)
def test_which_alias_wins_never_depends_on_the_order_of_keys(payload: str, battery: int) -> None:
    assert one(decoded(payload)).battery_level == battery


@pytest.mark.parametrize(
    "payload, field",
    [
        ('{"battery": "full", "x": 1}', "battery"),
        ('{"battery": true, "x": 1}', "battery"),
        ('{"battery": [87], "x": 1}', "battery"),
        ('{"battery": 101, "x": 1}', "battery"),
        ('{"battery_mv": 12000, "x": 1}', "battery_mv"),
        ('{"RSSI": 71, "x": 1}', "rssi"),
        ('{"rssi": {}, "x": 1}', "rssi"),
        ('{"csq": 40, "x": 1}', "csq"),
        ('{"fw": 1.10, "x": 1}', "fw"),
        ('{"fw": "", "x": 1}', "fw"),
        ('{"fw": "a\\u0000b", "x": 1}', "fw"),
        ('{"fw": {"main": 1.5}, "x": 1}', "fw"),
        ('{"fw": {"": "1"}, "x": 1}', "fw"),
        (f'{{"version": "{"9" * 60}", "x": 1}}', "version"),
        (f'{{"version": {{"{"c" * 51}": "1"}}, "x": 1}}', "version"),
        ('{"ts": "yesterday", "x": 1}', "ts"),
        ('{"ts": true, "x": 1}', "ts"),
        ('{"a\\u0000b": 2, "x": 1}', "a\\0b"),
    ],
)
def test_a_wrong_value_costs_that_field_only(payload: str, field: str) -> None:
    result = decoded(payload)
    assert failed(result) == [field]
    assert one(result).readings == (Reading("x", 1.0),)
    assert one(result).presence is ONLINE
    assert (one(result).battery_level, one(result).signal_strength, one(result).firmware) == (None, None, ())
    assert one(result).at == NOW


@pytest.mark.parametrize(
    "firmware, kept",
    [
        ('{"main": "1.0", "modem": 2.5}', (("main", "1.0"),)),
        ('{"main": "1.0", "": "2"}', (("main", "1.0"),)),
        (f'{{"main": "1.0", "modem": "{"9" * 60}"}}', (("main", "1.0"),)),
        ('{"b": "1", "a": true, "c": "a\\u0000b"}', (("b", "1"),)),
    ],
)
def test_a_component_that_cannot_be_used_costs_only_itself(
    firmware: str, kept: tuple[tuple[str, str], ...]
) -> None:
    result = decoded(f'{{"fw": {firmware}}}')
    assert one(result).firmware == kept
    assert failed(result) == ["fw"]


def test_components_past_the_limit_are_left_out_and_told() -> None:
    many = ",".join(f'"c{number:03}": "1"' for number in range(40))
    result = decoded(f'{{"fw": {{{many}}}}}')
    assert [component for component, _ in one(result).firmware] == [f"c{number:03}" for number in range(32)]
    assert failed(result) == ["fw"]


@pytest.mark.parametrize(
    "firmware, pair",
    [
        ('{"version": "1.4"}', ("main", "1.4")),
        ('{"version": "1.4", "component": "modem", "build": 7}', ("modem", "1.4")),
    ],
)
def test_an_object_with_a_version_is_that_one_version(firmware: str, pair: tuple[str, str]) -> None:
    assert one(decoded(f'{{"firmware": {firmware}}}')).firmware == (pair,)


def test_unknown_csq_is_nothing_and_no_error() -> None:
    result = decoded('{"csq": 99}')
    assert one(result).signal_strength is None
    assert result.field_errors == ()


def test_unknown_keys_are_ignored_unless_they_are_numbers() -> None:
    result = decoded('{"a": "x", "b": true, "c": null, "d": [1], "e": {"f": 1}, "g": 18446744073709551616}')
    assert one(result).readings == (Reading("g", 2.0**64),)
    assert result.field_errors == ()


def test_readings_and_field_errors_are_bounded() -> None:
    many = decoded("{" + ",".join(f'"n{n}": {n}' for n in range(1000)) + "}")
    assert len(one(many).readings) == 32
    assert failed(many) == ["readings"]
    bad = decoded("{" + ",".join(f'"{"x" * 65}{n}": {n}' for n in range(1000)) + "}")
    assert len(bad.field_errors) == 32
    assert bad.field_errors[-1].error == "969 more field errors were left out"


def test_a_json_object_without_a_known_key_is_evidence_of_being_online() -> None:
    assert one(decoded("{}")).presence is ONLINE


def test_an_array_of_objects_is_several_observations() -> None:
    result = decoded('[{"battery": 1, "ts": 1767225590}, 7, {"battery": "x"}, {"ts": 1}]')
    assert [(seen.battery_level, seen.at) for seen in result.observations] == [
        (1, NOW - 10 * SECOND), (None, NOW), (None, NOW - 10 * SECOND - 1),
    ]  # fmt: skip
    assert failed(result) == ["[1]", "[2].battery"]
    assert result.skewed
    assert decoded("[]") == Decoded()


@pytest.mark.parametrize(
    "payload, kind",
    [
        (b"\xff\xfe", "json"),
        (b"{", "json"),
        (b"battery=87", "json"),
        (b"NaN", "json"),
        (b'{"battery": 1,}', "json"),
        (b"[" * 10_000 + b"]" * 10_000, "json"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "json"),
        (b"87", "shape"),
        (b'"online"', "shape"),
        (b"null", "shape"),
        (b"[1, 2]", "shape"),
        (b"[" + b",".join([b"{}"] * 1001) + b"]", "shape"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_telemetry_that_means_nothing_is_dead_with_a_reason(payload: bytes, kind: str) -> None:
    dead = decoded(payload).dead
    assert dead is not None
    assert dead.kind == kind
    if kind == "json":
        assert "line 1 column" in dead.error


def test_a_thousand_objects_and_300_kib_are_fine() -> None:
    assert len(decoded(b"[" + b",".join([b"{}"] * 1000) + b"]").observations) == 1000
    assert one(decoded(b'{"note": "' + b"x" * 300 * 1024 + b'", "battery": 3}')).battery_level == 3


@pytest.mark.parametrize("kind", ["connection", "status"])
@pytest.mark.parametrize(
    "payload, presence",
    [
        ("online", ONLINE), ("offline", OFFLINE), ("1", ONLINE), ("0", OFFLINE), ("true", ONLINE), ("false", OFFLINE),
        ("connected", ONLINE), ("disconnected", OFFLINE), (" Online\r\n", ONLINE), ("OFFLINE", OFFLINE),
        ('"online"', ONLINE), (' " Offline " ', OFFLINE), ('{"status": "online"}', ONLINE), ('{"state": 0}', OFFLINE),
        ('{"connected": true}', ONLINE), ('{"Event": "Disconnected"}', OFFLINE), ('{"data": {"status": 1}}', ONLINE),
        ('{"state": {"connected": false}}', OFFLINE), ('{"status": 0, "connected": true}', ONLINE),
    ],
)  # fmt: skip
def test_presence_is_a_word_or_json(kind: str, payload: str, presence: Presence) -> None:
    result = decoded(payload, kind)
    assert one(result).presence is presence
    assert (one(result).at, one(result).seen_at) == (NOW, NOW)
    assert result.field_errors == ()


def test_a_presence_message_may_carry_telemetry() -> None:
    result = one(decoded('{"status": "online", "battery": 9, "fw": "2", "ts": 1767225599}', "status"))
    assert (result.battery_level, result.firmware, result.at) == (9, (("main", "2"),), NOW - SECOND)


@pytest.mark.parametrize(
    "payload, kind",
    [
        (b"away", "presence"), (b" ", "presence"), (b"2", "presence"), (b"null", "presence"), (b'"on"', "presence"),
        (b"{}", "presence"), (b'{"status": "away"}', "presence"), (b'{"status": null}', "presence"),
        (b'{"connected": 2}', "presence"), (b'{"status": []}', "presence"), (b"x" * 300_000, "presence"),
        (b"a\0b", "presence"), (b"\xff", "json"), (b'{"status": ', "json"), (b'"online', "json"),
        (b'["online"]', "shape"), (b"[" * 10_000, "json"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_word_that_is_not_known_is_dead(payload: bytes, kind: str) -> None:
    dead = decoded(payload, "connection").dead
    assert dead is not None
    assert dead.kind == kind


@pytest.mark.parametrize("kind", ["telemetry", "connection", "status"])
@pytest.mark.parametrize("retain", [True, False])
def test_an_empty_payload_says_nothing_and_is_not_dead(kind: str, retain: bool) -> None:
    assert decoded(b"", kind, retain) == Decoded()


def test_a_retained_presence_is_a_snapshot_without_telemetry() -> None:
    result = one(decoded('{"status": "offline", "battery": 9, "fw": "2", "t": 1}', "status", retain=True))
    assert result.snapshot
    assert result.presence is OFFLINE
    assert (result.battery_level, result.firmware, result.readings) == (None, (), ())


def test_retained_telemetry_says_nothing() -> None:
    assert decoded('{"battery": 9}', retain=True) == Decoded()


def test_an_oversized_payload_is_dead() -> None:
    result = decode(publish("{}")._replace(size=2_000_000), context(), None)
    assert result.dead is not None
    assert result.dead.kind == "oversized"


@pytest.mark.parametrize(
    "topic, kind",
    [
        ("other/d1/telemetry", "topic"),
        ("devices/d1/x/telemetry", "topic"),
        ("devices//telemetry", "device_id"),
        (f"devices/{'x' * 256}/telemetry", "device_id"),
        ("devices/a\0b/telemetry", "device_id"),
        ("devices/a\ud800b/telemetry", "device_id"),
        ("\ud800", "topic"),
    ],
)
def test_a_topic_that_names_no_device_is_dead(topic: str, kind: str) -> None:
    result = decode(publish("{}")._replace(topic=topic), context(), None)
    assert_tellable(result)
    assert result.dead is not None
    assert result.dead.kind == kind


def test_a_device_id_of_255_characters_is_taken() -> None:
    assert one(decode(publish("{}", device="é" * 255), context(), None)).device.external_id == "é" * 255


@pytest.mark.parametrize("key", ["device", "device_id", "deviceId"])
def test_the_topic_names_the_device_and_a_payload_that_names_another_loses(key: str) -> None:
    result = decoded(f'{{"{key}": "d2", "battery": 4}}')
    name = "device" if key == "device" else "device_id"
    assert failed(result) == [name]
    assert one(result).device.external_id == "d1"
    assert one(result).battery_level == 4
    assert decoded(f'{{"{key}": "d1"}}').field_errors == ()
    assert failed(decoded(f'{{"{key}": 5, "status": 1}}', "status")) == [name]
    assert decoded(f'{{"{key}": {{"model": "x"}}}}').field_errors == ()
    assert decoded(f'{{"{key}": ""}}').field_errors == ()


def test_field_paths_come_before_every_alias() -> None:
    paths = {
        "battery_level": "data.sensors.bat",
        "pressure": "Data.Sensors.P",
        "timestamp": "when",
        "fw": "a.b",
    }
    body = '{"battery": 1, "when": 1767225599, "data": {"sensors": {"bat": 60, "p": 990}}}'
    result = one(decode(publish(body), context(paths), None))
    assert (result.battery_level, result.at) == (60, NOW - SECOND)
    assert result.readings == (Reading("pressure", 990.0),)


def test_an_unusable_value_at_a_field_path_is_an_error_and_the_alias_counts() -> None:
    result = decode(publish('{"battery": 1, "v": "x"}'), context({"battery_level": "v"}), None)
    assert failed(result) == ["battery_level"]
    assert one(result).battery_level == 1


EARLIER, HEARD = NOW - 50 * SECOND, NOW - 100 * SECOND


@pytest.mark.parametrize(
    "time, event_time, heard_until, at, seen_at, skewed",
    [
        (EARLIER, False, None, EARLIER, NOW, False),
        (EARLIER, False, HEARD, EARLIER, EARLIER, False),
        (HEARD, False, HEARD, HEARD, HEARD, False),
        (HEARD - SECOND, False, HEARD, HEARD - SECOND, NOW, False),
        (NOW + SECOND, False, HEARD, NOW + SECOND, NOW, False),
        (EARLIER, True, None, EARLIER, EARLIER, False),
        (NOW + 300 * SECOND, True, None, NOW + 300 * SECOND, NOW + 300 * SECOND, False),
        (NOW + 301 * SECOND, True, None, NOW, NOW, True),
        (NOW + 301 * SECOND, False, HEARD, NOW, NOW, True),
        (12 * SECOND, False, 0, NOW, NOW, True),
        (12 * SECOND, True, None, NOW, NOW, True),
    ],
)
@pytest.mark.parametrize("kind", ["telemetry", "status"])
def test_presence_time_is_chosen_by_liveness(
    kind: str, time: int, event_time: bool, heard_until: int | None, at: int, seen_at: int, skewed: bool
) -> None:
    body = f'{{"status": "online", "ts": {time // SECOND}}}'
    result = decode(publish(body, kind), context(event_time=event_time), heard_until)
    assert (one(result).at, one(result).seen_at, result.skewed) == (at, seen_at, skewed)


@pytest.mark.parametrize("event_time", [True, False])
@pytest.mark.parametrize("heard_until", [None, HEARD])
@pytest.mark.parametrize("time", [EARLIER, 0])
def test_a_time_inside_an_offline_message_is_ignored(
    event_time: bool, heard_until: int | None, time: int
) -> None:
    body = f'{{"status": "offline", "ts": {time // SECOND}}}'
    result = decode(publish(body, "status"), context(event_time=event_time), heard_until)
    assert (one(result).at, one(result).seen_at, result.skewed) == (NOW, NOW, False)


def test_values_in_an_offline_message_count_at_their_own_time_and_not_when_it_arrives() -> None:
    result = decoded(f'{{"status": "offline", "battery": 95, "ts": {EARLIER // SECOND}}}', "status")
    offline, measured = result.observations
    assert (offline.presence, offline.at, offline.seen_at, offline.battery_level) == (OFFLINE, NOW, NOW, None)
    assert (measured.presence, measured.at, measured.battery_level) == (None, EARLIER, 95)


@pytest.mark.parametrize("time, skewed", [("null", False), ("12", True), ('"x"', False)])
def test_values_in_an_offline_message_without_a_usable_time_are_not_used(time: str, skewed: bool) -> None:
    result = decoded(f'{{"status": "offline", "battery": 95, "fw": "1", "x": 1, "ts": {time}}}', "status")
    seen = one(result)
    assert (seen.presence, seen.battery_level, seen.firmware, seen.readings) == (OFFLINE, None, (), ())
    assert failed(result)[-1] == "offline"
    assert result.skewed is skewed
