"""Field paths and spellings: where a value stands, and how its key is written."""

import pytest

from handlers.dialects.plain import decode
from handlers.events import Observation, Reading
from handlers.paths import FieldPaths, check, follow
from tests.handlers.test_plain import NOW, SECOND, context, decoded, failed, one, publish


@pytest.mark.parametrize(
    "body, path, value",
    [
        ({"rxInfo": [{"rssi": -110}]}, "rxInfo.0.rssi", -110),
        ({"rxInfo": [{"rssi": -110}]}, "rxinfo[0].RSSI", -110),
        ([[1, 2], [3]], "0.1", 2),
        ([[1, 2], [3]], "[1][0]", 3),
        ({"a.b": {"c": 1}}, "a.b.c", 1),
        ({"a": {"b.c": 1}}, "a.b.c", 1),
        ({"a": {"x": 0}, "a.b": {"c": 1}}, "a.b.c", 1),
        ({"a": {"b": {"c": 2}}, "a.b": {"c": 1}}, "a.b.c", 2),
        ({"0": {"x": 5}}, "0.x", 5),
        ({"Data-Block": {"bat_lvl": 5}}, "datablock.batlvl", 5),
        ({"rxInfo": []}, "rxInfo.0.rssi", None),
        ({"rxInfo": {"x": 1}}, "rxInfo.0.rssi", None),
        ({"a": 1}, "a.b", None),
        ({"a": None}, "a", None),
        ({"a": [1]}, "a.-1", None),
        ({"a": [1]}, "a.9999999999", None),
    ],
)
def test_a_path_leads_through_objects_arrays_and_keys_with_dots(
    body: object, path: str, value: object
) -> None:
    found = follow(body, path)
    assert (found.value if found else None) == value


@pytest.mark.parametrize("path", ["", "a..b", "a.", ".".join("a" * 33)])
def test_a_path_that_can_lead_nowhere_is_refused_and_named(path: str) -> None:
    with pytest.raises(ValueError, match=r"^rssi: a path such as"):
        check({"rssi": path})


def test_a_path_that_never_matched_is_known_and_told_once() -> None:
    paths = FieldPaths({"rssi": "rxInfo.0.rssi", "battery": "no.where"})
    for body in ('{"rxInfo":[{"rssi":-110}]}', '{"rxInfo":[]}'):
        decode(publish(body), context(paths), None)
    assert paths.missing == {"battery"}
    assert paths.overdue(3) == []
    assert paths.overdue(2) == ["battery"]
    assert paths.overdue(2) == []


def seen(payload: str) -> Observation:
    result = decoded(payload)
    assert result.field_errors == ()
    return one(result)


@pytest.mark.parametrize(
    "key", ["batteryLevel", "BatteryLevel", "battery-level", "Battery Level", "BATTERY_LEVEL", "batteryPercent",
            "battery_percentage", "batteryPct", "battery_pct"]
)  # fmt: skip
def test_a_key_is_known_however_its_words_are_joined(key: str) -> None:
    assert seen(f'{{"{key}":44}}').battery_level == 44


def test_the_spelling_of_the_platform_loses_no_field() -> None:
    found = seen('{"firmwareVersion":"14.1","signalStrength":-66,"wifiRssi":-60,"tst":1767225599}')
    assert (found.firmware, found.signal_strength, found.at) == ((("main", "14.1"),), -66, NOW - SECOND)


@pytest.mark.parametrize(
    "body", ['{"battery_level":1,"batteryLevel":2}', '{"batteryLevel":2,"battery_level":1}']
)
def test_which_spelling_counts_never_depends_on_the_order(body: str) -> None:
    assert seen(body).battery_level == 1


@pytest.mark.parametrize("outer", ["values", "reported", "data"])
def test_an_envelope_never_hides_its_values(outer: str) -> None:
    found = seen(f'{{"ts":1767225599000,"{outer}":{{"battery":50,"rssi":-60,"fw":"1"}}}}')
    assert (found.battery_level, found.signal_strength, found.firmware, found.at) == (
        50, -60, (("main", "1"),), NOW - SECOND,
    )  # fmt: skip


def test_a_shadow_is_read_through_both_its_envelopes() -> None:
    assert seen('{"state":{"reported":{"battery":77}}}').battery_level == 77


@pytest.mark.parametrize(
    "body, readings",
    [
        ('{"temperature":21}', [("temp", 21.0)]),
        ('{"Temp":21,"humidity":40,"PRESSURE":990}', [("temp", 21.0), ("hum", 40.0), ("press", 990.0)]),
        ('{"temp":1,"temperature":2}', [("temp", 1.0)]),
        ('{"temperature":2,"temp":1}', [("temp", 1.0)]),
        ('{"TEMP":2,"Temp":3}', [("temp", 2.0)]),
        ('{"Temp":3,"TEMP":2}', [("temp", 2.0)]),
        ('{"data":{"temp":1},"temperature":2}', [("temp", 2.0)]),
    ],
)
def test_a_quantity_with_two_names_is_one_reading(body: str, readings: list[tuple[str, float]]) -> None:
    assert seen(body).readings == tuple(Reading(name, value) for name, value in readings)


@pytest.mark.parametrize(
    "battery, level",
    [
        ('{"V":4.1,"percent":87}', 87),
        ('{"Percentage":"87%"}', 87),
        ('{"level":5,"mv":3700}', 5),
        ('{"soc":0}', 0),
    ],
)
def test_a_battery_may_be_an_object_with_its_level(battery: str, level: int) -> None:
    assert seen(f'{{"battery":{battery}}}').battery_level == level


@pytest.mark.parametrize(
    "body, field, part",
    [
        ('{"battery":0.87}', "battery", "battery_mv"),
        ('{"battery":3.7}', "battery", "battery_mv"),
        ('{"battery":"4.12"}', "battery", "battery_mv"),
        ('{"battery":{"V":4.1}}', "battery", "an object"),
        ('{"battery":{"percent":0.5}}', "battery", "battery_mv"),
    ],
)
def test_a_voltage_or_a_share_is_never_a_percentage(body: str, field: str, part: str) -> None:
    result = decoded(body)
    assert failed(result) == [field]
    assert part in result.field_errors[0].error
    assert one(result).battery_level is None


@pytest.mark.parametrize("key", ["rssi", "signal", "signalStrength", "wifi_rssi"])
@pytest.mark.parametrize("value", ["0", "-127", "-128", '"-127 dBm"'])
def test_no_signal_is_no_figure_and_the_next_alias_counts(key: str, value: str) -> None:
    assert seen(f'{{"{key}":{value}}}').signal_strength is None
    assert seen(f'{{"{key}":{value},"csq":20}}').signal_strength == -73


def test_a_weak_cell_is_a_figure() -> None:
    assert seen('{"rsrp":-127}').signal_strength == -127


@pytest.mark.parametrize("fw, pairs", [("7", (("main", "7"),)), ('{"modem":12}', (("modem", "12"),))])
def test_a_whole_number_as_version_is_text(fw: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert seen(f'{{"fw":{fw}}}').firmware == pairs


@pytest.mark.parametrize("blank", ["\u00a0", "\u202f", " "])
def test_any_blank_may_stand_before_a_unit(blank: str) -> None:
    found = seen(f'{{"battery":"87{blank}%","rssi":"-71{blank}dBm"}}')
    assert (found.battery_level, found.signal_strength) == (87, -71)


def test_an_object_as_text_under_an_envelope_is_read() -> None:
    assert (
        seen('{"payload":"{\\"battery\\":33,\\"data\\":\\"{\\\\\\"rssi\\\\\\":-60}\\"}"}').battery_level == 33
    )
    result = decoded('{"payload":"{battery}","rssi":-60}')
    assert failed(result) == ["payload"]
    assert one(result).signal_strength == -60


def test_a_path_of_32_steps_is_taken_and_an_index_of_six_digits() -> None:
    check({"rssi": ".".join("a" * 32)})
    found = follow([0] * 100_000 + [7], "100000")
    assert found
    assert (found.value, found.key) == (7, None)
    assert follow([7], "0000000") is None
    assert follow([7], "1") is None


def test_a_path_that_matched_once_is_not_missing_and_messages_count_while_one_is() -> None:
    paths = FieldPaths({"a": "x", "b": "y"})
    paths.note(["a"])
    assert (paths.messages, paths.missing) == (1, {"b"})
    paths.note(["b"])
    paths.note([])
    assert (paths.messages, paths.missing) == (2, set())


def test_the_exact_key_is_preferred_to_another_spelling_and_of_those_the_first_by_text() -> None:
    for body in ({"A": 1, "a": 2}, {"a": 2, "A": 1}):
        assert follow(body, "a") == (2, "a")
        assert follow(body, "-a") == (1, "A")
