"""Whatever a provider sends, what is read of it fits the columns."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import (
    MAX_AT,
    MAX_COMPONENT,
    MAX_EXTERNAL_ID,
    MAX_SERIAL_NUMBER,
    MAX_VERSION,
    MIN_AT,
    FieldError,
)
from ingest.providers.aws_iot.device import listed as aws_listed
from ingest.providers.azure_iot.device import listed as azure_listed
from ingest.providers.columns import MAX_DEPTH, MAX_METADATA, Columns
from ingest.providers.golioth.device import listed as golioth_listed
from ingest.providers.port import ListedDevice

SCALARS: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.text(max_size=300),
    st.sampled_from(["", "\0", "\ud800", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9" * 5000, 10**40]),
)  # fmt: skip
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def shaped(*names: str, **inner: Any) -> Any:
    """Objects with these keys, each there or not, whatever is in them."""
    return st.fixed_dictionaries({}, optional={**dict.fromkeys(names, VALUES), **inner})


REPORTED = shaped("battery", "rssi", "firmware", "csq", "battery_mv", "$metadata")
UPDATE = st.dictionaries(st.text(max_size=60), shaped("version", "target", "state") | VALUES, max_size=4)
ID = st.just("d1") | VALUES
GOLIOTH = shaped(
    "name", "hardwareIds", "tagIds", "cohortId", "blueprintId", "enabled", "lastReport", "updatedAt",
    metadata=shaped("lastReport", "lastSeenOnline", "lastSeenOffline", update=UPDATE),
    data=REPORTED, id=ID,
)  # fmt: skip
SHADOW = REPORTED.map(lambda one: json.dumps({"reported": one, "metadata": one}))
AWS = shaped(
    "thingTypeName", thingName=ID, shadow=VALUES | SHADOW,
    attributes=st.dictionaries(st.sampled_from(["name", "serial_number", "hardware_ids", "tags", "x"]), st.text()),
    connectivity=shaped("timestamp", connected=st.booleans() | VALUES),
)  # fmt: skip
AZURE = shaped(
    "connectionState", "lastActivityTime", "connectionStateUpdatedTime", "modelId",
    tags=shaped("name", "serial_number", "hardware_ids", "tags", "x"), properties=shaped("desired", reported=REPORTED),
    deviceId=ID,
)  # fmt: skip


def fits(device: ListedDevice) -> None:
    """Assert that Postgres takes every value."""
    texts = [
        (device.external_id, MAX_EXTERNAL_ID),
        (device.name, 255),
        (device.serial_number, MAX_SERIAL_NUMBER),
    ]
    texts += [(device.cohort_id, 255), *((one, 255) for one in (*device.hardware_ids, *device.tags))]
    texts += [(one.component, MAX_COMPONENT) for one in device.firmware]
    texts += [(one.version, MAX_VERSION) for one in device.firmware]
    for text, limit in texts:
        assert text is None or (0 < len(text.encode().decode()) <= limit and "\0" not in text)
    moments = [device.online_at, device.offline_at, device.connected_at, device.battery_at, device.signal_at]
    for at in (*moments, device.updated_at, *(one.at for one in device.firmware)):
        assert at is None or MIN_AT <= at <= MAX_AT
    assert device.battery_level is None or 0 <= device.battery_level <= 100
    assert device.signal_strength is None or -150 <= device.signal_strength <= 0
    assert device.golioth_status in (None, "enabled", "disabled")
    assert device.connected in (None, True, False)
    assert len(device.problems) <= 32
    for problem in device.problems:
        assert len(problem.error) <= 300
        assert "\0" not in (problem.field + problem.error).encode().decode()


@given(GOLIOTH | VALUES)
def test_golioth_devices_fit_the_columns(raw: Any) -> None:
    found = golioth_listed(raw, {})
    assert isinstance(found, FieldError) or fits(found) is None


@given(AWS | VALUES)
def test_aws_things_fit_the_columns(raw: Any) -> None:
    found = aws_listed(raw)
    assert isinstance(found, FieldError) or fits(found) is None


@given(AZURE | VALUES)
def test_azure_twins_fit_the_columns(raw: Any) -> None:
    found = azure_listed(raw)
    assert isinstance(found, FieldError) or fits(found) is None


@given(st.dictionaries(st.text(st.characters(), max_size=12), VALUES, max_size=6))
def test_metadata_is_what_jsonb_takes(found: dict[str, Any]) -> None:
    columns = Columns()
    kept = columns.metadata(found)
    assert len(columns.problems) + len(kept) >= len([value for value in found.values() if value is not None])
    written = json.dumps(kept, allow_nan=False, ensure_ascii=False)
    written.encode()
    assert "\\u0000" not in written.replace("\\\\", "")


def test_metadata_is_bounded_in_size_and_depth() -> None:
    columns = Columns()
    assert columns.metadata({"a": "x" * (MAX_METADATA // 2), "b": "x" * MAX_METADATA, "c": 1}).keys() == {"a"}
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert columns.metadata({"deep": deep, "flat": [[1]]}) == {"flat": [[1]]}
    assert len(columns.problems) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "a\0", ["a\ud800"], {"k\0": 1}])
def test_metadata_that_jsonb_refuses_is_left_out_and_told(value: object) -> None:
    columns = Columns()
    assert columns.metadata({"bad": value, "good": 1}) == {"good": 1}
    assert [problem.field for problem in columns.problems] == ["metadata.bad"]
