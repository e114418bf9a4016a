"""Keys that name a device are remembered by the keys of an object; that changes no result."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import DeviceKey, FieldError
from handlers.telemetry import read
from handlers.webhooks import naming
from handlers.webhooks.naming import EXTERNAL_IDS, HARDWARE_IDS, SERIAL_NUMBERS, identified

KEYS = (*EXTERNAL_IDS, *SERIAL_NUMBERS, *HARDWARE_IDS, "battery", "temp", "data")
VALUES = st.one_of(
    st.sampled_from(["a", " b ", "", "\0", 7, 10**20, True, None, 1.5, ["h1", "h2", 3], [], {}]),
    st.fixed_dictionaries({"device_id": st.sampled_from(["inner", "", 8])}),
)
BODIES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


def named(body: dict[str, Any]) -> tuple[DeviceKey | str, list[FieldError]]:
    errors: list[FieldError] = []
    return identified(body, read(body, {}, []), errors), errors


@given(BODIES)
def test_one_more_key_that_needs_care_does_not_change_who_is_named(body: dict[str, Any]) -> None:
    assert named(body) == named({**body, "Odd": "x"})


@given(BODIES)
def test_the_spelling_of_keys_does_not_change_who_is_named(body: dict[str, Any]) -> None:
    assert named(body) == named({key.upper(): value for key, value in body.items()})


@given(BODIES, BODIES)
def test_objects_with_the_same_keys_name_their_own_device(
    first: dict[str, Any], other: dict[str, Any]
) -> None:
    alike = {key: other.get(key, "z") for key in first}
    before = named(first)
    named(alike)
    assert named(first) == before


def names(body: dict[str, Any]) -> DeviceKey | str:
    device, _ = named(body)
    return device


def test_a_device_is_named_by_a_key_of_any_spelling_up_to_32_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(naming, "EXTERNAL_IDS", ("x" * 32, "y" * 33))
    monkeypatch.setattr(naming, "_ALL", naming.Names(("x" * 32, "y" * 33), (), ()))
    assert names({"X" * 32: "d"}) == DeviceKey("d")
    assert names({"Y" * 33: "d"}) == naming.NO_DEVICE


@pytest.mark.parametrize("more", [0, 30, 31, 32, 33, 50])
def test_any_number_of_other_keys_leaves_a_device_its_name(more: int) -> None:
    others = {f"k{n}": n for n in range(more)}
    assert names({**others, "device_id": "d"}) == DeviceKey("d")
    assert names({**others, "serial_number": "s", "hardware_ids": ["h"]}) == DeviceKey(None, "s", ("h",))


def test_only_short_lists_of_keys_are_remembered_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "_remembered", {})
    kept = [{f"k{n}": 1 for n in range(32)}, {"x" * 1024: 1}]
    for body in (*kept, {f"k{n}": 1 for n in range(33)}, {"x" * 1025: 1}):
        names(body)
    assert list(naming._remembered) == [tuple(body) for body in kept]
    monkeypatch.setattr(naming, "_MAX_REMEMBERED", 3)
    for n in range(9):
        assert names({f"k{n}": 1, "device": f"d{n}"}) == DeviceKey(f"d{n}")
        assert len(naming._remembered) <= 3


@pytest.mark.parametrize(
    "body, device",
    [
        ({"device_id": "x" * 255}, DeviceKey("x" * 255)),
        ({"device_id": "x" * 256, "external_id": "y"}, DeviceKey("y")),
        ({"serial_number": "s" * 100}, DeviceKey(None, "s" * 100)),
        ({"serial_number": "s" * 101, "device": "d"}, DeviceKey("d")),
        ({"data": {"device_id": " inner "}}, DeviceKey("inner")),
        ({"data": {"device_id": "x" * 255}}, DeviceKey("x" * 255)),
        ({"data": {"device_id": "x" * 256}}, naming.NO_DEVICE),
        ({"device": {}, "data": {"device": "inner"}}, DeviceKey("inner")),
        ({"data": {"device_id": "inner"}, "device_id": "outer"}, DeviceKey("outer")),
        ({"hardware_ids": []}, naming.NO_DEVICE),
    ],
)
def test_a_device_is_named_at_the_top_or_inside_by_what_a_column_holds(body: Any, device: object) -> None:
    assert names(body) == device


def test_a_number_of_19_digits_names_no_device() -> None:
    assert names({"device_id": 10**18 - 1}) == DeviceKey("9" * 18)
    assert "not text" in str(names({"device_id": 10**18}))
