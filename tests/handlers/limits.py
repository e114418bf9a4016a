"""Limits of a row: every observation of every handler must pass, whatever the bytes were."""

import math
from uuid import UUID

import orjson

from handlers.events import (
    MAX_AT,
    MAX_COMPONENT,
    MAX_COMPONENTS,
    MAX_EXTERNAL_ID,
    MAX_READING_NAME,
    MAX_READING_UNIT,
    MAX_READINGS,
    MAX_SERIAL_NUMBER,
    MAX_VERSION,
    MIN_AT,
    Decoded,
    Facts,
    Observation,
    Presence,
)
from handlers.facts import (
    MAX_COHORT_ID,
    MAX_HARDWARE_ID,
    MAX_LISTED,
    MAX_METADATA_BYTES,
    MAX_NAME,
    MAX_TAG,
)


def assert_fits_columns(observation: Observation) -> None:
    assert isinstance(observation.integration_id, UUID)
    _assert_times(observation)
    device = observation.device
    assert device.external_id or device.serial_number or device.hardware_ids
    _assert_text(device.external_id, MAX_EXTERNAL_ID)
    _assert_text(device.serial_number, MAX_SERIAL_NUMBER)
    for hardware_id in device.hardware_ids:
        _assert_text(hardware_id, MAX_HARDWARE_ID)
    if observation.sequence is not None:
        assert observation.sequence.window >= 0
        _assert_text(observation.sequence.order, 100)
    if observation.facts is not None:
        _assert_facts(observation.facts)
    assert observation.presence is None or type(observation.presence) is Presence
    assert type(observation.snapshot) is bool
    _assert_within(observation.battery_level, 0, 100)
    _assert_within(observation.signal_strength, -150, 0)
    assert len(observation.firmware) <= MAX_COMPONENTS
    assert len({component for component, _ in observation.firmware}) == len(observation.firmware)
    for component, version in observation.firmware:
        assert component
        assert version
        _assert_text(component, MAX_COMPONENT)
        _assert_text(version, MAX_VERSION)
    assert len(observation.readings) <= MAX_READINGS
    assert len({reading.name for reading in observation.readings}) == len(observation.readings)
    for reading in observation.readings:
        assert reading.name
        _assert_text(reading.name, MAX_READING_NAME)
        _assert_text(reading.unit, MAX_READING_UNIT)
        assert type(reading.value) is float
        assert math.isfinite(reading.value)


def _assert_facts(facts: Facts) -> None:
    for text, limit in (
        (facts.name, MAX_NAME),
        (facts.serial_number, MAX_SERIAL_NUMBER),
        (facts.cohort_id, MAX_COHORT_ID),
    ):
        assert text != ""
        _assert_text(text, limit)
    for texts, limit in ((facts.hardware_ids, MAX_HARDWARE_ID), (facts.tags, MAX_TAG)):
        assert len(texts or ()) <= MAX_LISTED
        for text in texts or ():
            assert text
            _assert_text(text, limit)
    assert facts.golioth_status in (None, "enabled", "disabled", "suspended")
    assert facts.lifecycle in (None, "created", "deleted")
    if facts.metadata is not None:
        stored = orjson.dumps(dict(facts.metadata))
        assert len(stored) <= 2 * MAX_METADATA_BYTES
        assert b"\\u0000" not in stored.replace(b"\\\\", b"")


def assert_tellable(decoded: Decoded) -> None:
    """Errors are stored and shown too: bounded, and text that Postgres takes."""
    assert len(decoded.field_errors) <= 32
    for name, error, value in decoded.field_errors:
        _assert_text(name, 100)
        _assert_text(error, 300)
        _assert_text(value, 60)
        assert name
        assert error
    if decoded.dead is not None:
        assert decoded.observations == ()
        _assert_text(decoded.dead.error, 300)
        assert decoded.dead.error


def _assert_times(observation: Observation) -> None:
    for time in (observation.at, observation.seen_at, observation.received_at):
        assert type(time) is int
        assert MIN_AT <= time <= MAX_AT


def _assert_text(text: str | None, limit: int) -> None:
    if text is not None:
        assert type(text) is str
        assert len(text) <= limit
        assert "\0" not in text
        text.encode()


def _assert_within(number: int | None, low: int, high: int) -> None:
    if number is not None:
        assert type(number) is int
        assert low <= number <= high
