"""Keys that name a device are remembered by the keys of an object; that changes no result."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handlers.events import DeviceKey, FieldError
from handlers.telemetry import read
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
