"""The fields of an object: which keys nest, how deep, how many values are kept; quickly read or with care."""

import orjson
import pytest

from handlers import keys, shapes
from handlers.events import FieldError, Reading
from handlers.shapes import quickly_read
from handlers.telemetry import capped, read
from tests.handlers.test_plain import NOW, SECOND, decoded, failed, one


def nested(levels: int, inside: dict[str, object]) -> dict[str, object]:
    body = inside
    for _ in range(levels):
        body = {"data": body}
    return body


@pytest.mark.parametrize("levels, battery", [(1, 5), (12, 5), (13, None)])
def test_values_are_found_under_twelve_containers_and_no_deeper(levels: int, battery: int | None) -> None:
    seen = one(decoded(orjson.dumps(nested(levels, {"battery": 5, "x": 1}))))
    assert seen.battery_level == battery
    assert seen.readings == ((Reading("x", 1.0),) if battery else ())


def test_twelve_containers_are_read_in_all_however_they_lie() -> None:
    wide = {
        "data": {name: {f"{name}1": 1} for name in keys.CONTAINERS},
        "payload": {name: {f"{name}2": 2} for name in keys.CONTAINERS},
    }
    names = {reading.name for reading in one(decoded(orjson.dumps(wide))).readings}
    assert names == {f"{name}{n}" for name in keys.CONTAINERS for n in (1, 2)}


@pytest.mark.parametrize("key", ["battery", "rssi", "fw", "ts", "device", "temp", "made_up"])
def test_an_object_under_any_key_but_a_container_or_a_state_is_not_looked_into(key: str) -> None:
    assert one(decoded(orjson.dumps({key: {"soc": 5, "csq": 20, "x": 1}}))).readings == ()
    assert one(decoded(orjson.dumps({key: {"signal": -7}}))).signal_strength is None


@pytest.mark.parametrize("key", [*keys.CONTAINERS, *keys.PRESENCE])
def test_an_object_under_a_container_or_a_state_is_read_as_if_its_keys_stood_outside(key: str) -> None:
    assert one(decoded(orjson.dumps({key: {"battery": 5}}))).battery_level == 5


def test_an_outer_value_counts_before_a_nested_one_and_in_one_object_the_usual_name_does() -> None:
    assert one(decoded('{"data": {"temp": 1}, "temperature": 2}')).readings == (Reading("temp", 2.0),)
    for body in ('{"temp": 1, "temperature": 2}', '{"temperature": 2, "temp": 1}', '{"TEMP": 2, "temp": 1}'):
        assert one(decoded(body)).readings == (Reading("temp", 1.0),)


@pytest.mark.parametrize("container", [{}, {"data": {}}])
def test_32_readings_are_kept_of_an_object_whichever_way_it_is_read(container: dict[str, object]) -> None:
    fits = decoded(orjson.dumps({**{f"n{n}": n for n in range(32)}, **container}))
    assert (len(one(fits).readings), failed(fits)) == (32, [])
    more = decoded(orjson.dumps({**{f"n{n}": n for n in range(33)}, **container}))
    assert one(more).readings == one(fits).readings
    assert [error.error for error in more.field_errors] == ["has 33 numbers, the first 32 were kept"]


@pytest.mark.parametrize("container", [{}, {"data": {}}])
def test_the_name_of_a_reading_has_at_most_64_characters(container: dict[str, object]) -> None:
    fits = decoded(orjson.dumps({"x" * 64: 1, **container}))
    assert (one(fits).readings, failed(fits)) == ((Reading("x" * 64, 1.0),), [])
    more = decoded(orjson.dumps({"x" * 65: 1, **container}))
    assert (one(more).readings, failed(more)) == ((), ["x" * 65])


def test_32_field_errors_are_listed_and_more_are_counted() -> None:
    errors = [FieldError(f"f{n}", "is wrong") for n in range(34)]
    assert capped(errors[:32]) == tuple(errors[:32])
    assert capped(errors[:33]) == (*errors[:31], FieldError("*", "2 more field errors were left out"))
    assert capped(errors) == (*errors[:31], FieldError("*", "3 more field errors were left out"))


@pytest.mark.parametrize(
    "body",
    [
        {"battery": 0, "rssi": -1},
        {"battery": 100, "rssi": -126},
        {"soc": 7, "signal": -70, "ts": NOW // SECOND, "temp": 1.5, "note": "x", "on": True},
        {"ts": 10**11 - 1}, {"ts": 10**11}, {"ts": 10**14 - 1}, {"ts": 10**14}, {"ts": 10**17 - 1}, {"ts": 10**17},
        {"ts": "2026-01-01T00:00:00Z", "device": "d1", "temperature": 3},
        {"DeviceId": "d1", "x": 1},
        {f"n{n}": n for n in range(32)},
    ],
    ids=lambda body: repr(body)[:40],
)  # fmt: skip
def test_plain_numbers_are_read_quickly_and_as_with_care(body: dict[str, object]) -> None:
    quick = quickly_read(body)
    errors: list[FieldError] = []
    assert quick is not None
    assert quick == read(body, {"no": "where"}, errors)
    assert errors == []


@pytest.mark.parametrize(
    "body",
    [
        {"battery": -1}, {"battery": 101}, {"battery": 1.0}, {"battery": True}, {"battery": None}, {"battery": "7"},
        {"rssi": 0}, {"rssi": -127}, {"rssi": -1.0}, {"ts": "x"}, {"ts": None}, {"ts": 10**20},
        {"battery": 1, "soc": 1}, {"battery_mv": 3800}, {"csq": 20}, {"fw": "1"}, {"status": "online"},
        {"data": {}}, {"temp": 1, "temperature": 1}, {"x": float("nan")}, {"x": [1]}, {"x": None}, {"x" * 65: 1},
        {"device": ""}, {"device": 5}, {"device": None},
        {f"n{n}": n for n in range(33)},
    ],
    ids=lambda body: repr(body)[:40],
)  # fmt: skip
def test_whatever_is_not_plain_is_left_to_the_careful_reading(body: dict[str, object]) -> None:
    assert quickly_read(body) is None


def test_only_short_lists_of_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_shapes", {})
    kept = [{f"k{n}": "x" for n in range(40)}, {"x" * 1023: "y", "z": "y"}]
    for body in (*kept, {f"k{n}": "x" for n in range(41)}, {"x" * 1023: "y", "zz": "y"}):
        quickly_read(body)
    assert list(shapes._shapes) == [tuple(body) for body in kept]


def test_the_memories_of_keys_are_bounded_and_forgetting_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shapes, "_shapes", {})
    monkeypatch.setattr(shapes, "_MAX_SHAPES", 2)
    monkeypatch.setattr(keys, "_MAX_CODES", len(keys.KNOWN) + 2)
    for n in range(9):
        assert quickly_read({f"m{n}": 1, "temp": 2}) == read({f"m{n}": 1, "temp": 2}, {}, [])
        assert len(shapes._shapes) <= 2
        assert keys.KNOWN.items() <= keys.codes.items()
        assert len(keys.codes) <= len(keys.KNOWN) + 2


@pytest.mark.parametrize("key", ["TEMP", "Temp", "temp"])
def test_a_reading_with_a_usual_name_is_kept_under_it_in_any_case(key: str) -> None:
    assert keys.reading_name(key) == "temp"
    assert keys.rank("temp") <= keys.rank(key) < keys.rank("temperature")


def test_a_reading_without_one_is_kept_as_it_is_spelled() -> None:
    assert keys.reading_name("Flow") == "Flow"
    assert keys.rank("flow") < keys.rank("Flow") < keys.rank("fLow")


@pytest.mark.parametrize("inside", ['{"RSSI": -8, "rssi": -7}', '{"rssi": -7, "RSSI": -8}'])
def test_two_spellings_in_a_nested_object_count_after_the_outer_object_and_lower_case_before_others(
    inside: str,
) -> None:
    assert one(decoded(f'{{"signal": -50, "data": {inside}}}')).signal_strength == -50
    assert one(decoded(f'{{"data": {inside}}}')).signal_strength == -7
    assert one(decoded(f'{{"data": {{"data": {inside}}}}}')).signal_strength == -7
