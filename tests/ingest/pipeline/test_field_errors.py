"""The collector of field errors alone: what is due when, and what it may hold however much is invented."""

from collections.abc import Iterable
from uuid import UUID, uuid5

from handlers.events import DeviceKey, FieldError
from handlers.fields import field_label, field_name
from ingest.pipeline.field_errors import (
    EVERY_S,
    MAX_DEVICES,
    MAX_DUE,
    MAX_FIELDS,
    UNKNOWN_S,
    Due,
    FieldErrors,
)

PLANT, OTHER_PLANT = UUID(int=1), UUID(int=2)
PUMP = DeviceKey("pump")


class Rows:
    """The rows of the devices that are named."""

    def __init__(self, *named: DeviceKey) -> None:
        self.rows: dict[DeviceKey, UUID] = {}
        self.make(*named)

    def make(self, *named: DeviceKey) -> None:
        self.rows.update({one: uuid5(PLANT, one.external_id or "") for one in named})

    def __call__(self, integration_id: UUID) -> dict[DeviceKey, UUID]:
        return self.rows


ONLY_THE_PUMP = Rows(PUMP)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def battery(value: str) -> FieldError:
    return FieldError("battery", "is out of range", value)


def said(due: Iterable[Due]) -> list[tuple[str, str]]:
    return [(one.field, one.noted.error.value) for one in due]


def test_a_field_is_not_written_twice_in_a_minute_and_then_with_its_newest_value() -> None:
    clock = Clock()
    errors = FieldErrors(ONLY_THE_PUMP, clock)
    errors.note(PLANT, PUMP, [battery("300")], 1)
    due = errors.due()
    assert said(due) == [("battery", "300")]
    errors.settle(due)
    for value in ("301", "302"):
        errors.note(PLANT, PUMP, [battery(value)], 2)
    assert errors.due() == []
    clock.now += EVERY_S - 1
    assert errors.due() == []
    clock.now += 1
    assert said(errors.due()) == [("battery", "302")]


def test_an_error_that_comes_while_the_one_before_is_written_is_not_lost() -> None:
    clock = Clock()
    errors = FieldErrors(ONLY_THE_PUMP, clock)
    errors.note(PLANT, PUMP, [battery("300")], 1)
    due = errors.due()
    errors.note(PLANT, PUMP, [battery("301")], 2)
    errors.settle(due)
    clock.now += EVERY_S
    assert said(errors.due()) == [("battery", "301")]


def test_invented_fields_of_one_device_are_neither_held_nor_written_without_bound() -> None:
    clock = Clock()
    errors = FieldErrors(ONLY_THE_PUMP, clock)
    written = 0
    for second in range(20):
        errors.note(PLANT, PUMP, [FieldError(f"x{second}.{n}", "is odd") for n in range(1_000)], 1)
        due = errors.due()
        errors.settle(due)
        written += len(due)
        clock.now += 1
    assert written == MAX_FIELDS


def test_invented_devices_are_forgotten_and_do_not_keep_out_one_that_has_a_row() -> None:
    clock = Clock()
    rows = Rows(PUMP)
    errors = FieldErrors(rows, clock)
    errors.note(PLANT, PUMP, [battery("300")], 1)
    for n in range(MAX_DEVICES + 500):
        errors.note(PLANT, DeviceKey(f"invented {n}"), [battery("300")], 1)
    due = errors.due()
    assert said(due) == [("battery", "300")]
    errors.settle(due)
    clock.now += UNKNOWN_S + 1
    assert errors.due() == []
    rows.make(*(DeviceKey(f"invented {n}") for n in range(MAX_DEVICES + 500)))
    assert errors.due() == []


def test_the_first_error_of_a_device_whose_row_is_made_just_now_is_not_lost() -> None:
    rows = Rows()
    errors = FieldErrors(rows, Clock())
    errors.note(PLANT, PUMP, [battery("300")], 1)
    assert errors.due() == []
    rows.make(PUMP)
    assert said(errors.due()) == [("battery", "300")]


def test_a_large_fleet_and_another_integration_are_all_written_in_their_turns() -> None:
    clock = Clock()
    fleet = [DeviceKey(f"d{n}") for n in range(MAX_DEVICES)]
    errors = FieldErrors(Rows(PUMP, *fleet), clock)
    for one in fleet:
        errors.note(PLANT, one, [battery("300")], 1)
    errors.note(OTHER_PLANT, PUMP, [battery("300")], 1)
    written: list[tuple[UUID, DeviceKey]] = []
    for second in range(20):
        due = errors.due()
        assert len(due) <= MAX_DUE
        assert second or {one.integration_id for one in due} == {PLANT, OTHER_PLANT}
        errors.settle(due)
        written += [(one.integration_id, one.device) for one in due]
        clock.now += 1
    assert len(written) == len(set(written)) == MAX_DEVICES + 1


def test_a_label_is_never_a_name_that_a_device_made_up() -> None:
    names = ["battery", "[3].rssi", "metadata.colour", "x1", "[7]", "battery[2]", "*", "ti.me", "pressure"]
    labels = [field_label(field_name(FieldError(name, ""))) for name in names]
    assert labels == ["battery", "rssi", "metadata", "other", "other", "other", "other", "other", "other"]
