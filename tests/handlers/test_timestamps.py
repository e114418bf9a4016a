import pytest

from handlers.events import DAY, MAX_AT, MIN_AT, SECOND, Liveness
from handlers.timestamps import device_usable, micros, usable

T = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    "value, expected",
    [
        (1767225600, T),
        (1767225600123, T + 123_000),
        (1767225600123456, T + 123_456),
        (1767225600123456789, T + 123_456),
        (1767225600.5, T + 500_000),
        (1767225600123.25, T + 123_250),
        (1.767225600123456e15, T + 123_456),
        ("1767225600", T),
        (" 1767225600123 ", T + 123_000),
        ("1767225600.123456", T + 123_456),
        ("1767225600123456789", T + 123_456),
        ("1.7672256e9", T),
        ("2026-01-01T00:00:00Z", T),
        ("2026-01-01t00:00:00z", T),
        ("2026-01-01T00:00:00", T),
        ("2026-01-01 00:00:00", T),
        ("2026-01-01T02:00:00+02:00", T),
        ("2025-12-31T18:30:00-0530", T),
        ("2026-01-01T00:00:00.1Z", T + 100_000),
        ("2026-01-01T00:00:00.123456789Z", T + 123_456),
        ("2026-01-01T00:00:00,5Z", T + 500_000),
        ("2026-01-01_00:00:00.123", T + 123_000),
        ("2026-01-01T00:00Z", T),
        ("20260101T000000Z", T),
        ("2026-01-01", T),
        (0, 0),
        (-1, -SECOND),
        ("1969-12-31T23:59:59Z", -SECOND),
        ("0001-01-01T00:00:00+23:59", -62_135_596_800 * SECOND - 86_340 * SECOND),
    ],
)
def test_a_time_is_read_in_any_of_the_documented_forms(value: object, expected: int) -> None:
    assert micros(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "12:00", "nan", "inf", "1_767", "0x10",
        "2026-01-01T00:00:00+99:00", "²", "\u0662\u0660",
        "2026-01-01\0", "\ud800", "9" * 10_000, "1e99", 10**20,
        -(10**20), 10**400, float("nan"), float("inf"), 1e300, True, False, None, [], {}, [1767225600],
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_time_is_an_error_and_never_a_guess(value: object) -> None:
    error = micros(value)
    assert isinstance(error, str)
    assert len(error) <= 300
    error.encode()


@pytest.mark.parametrize(
    "at, expected",
    [
        (T, True),
        (T + 300 * SECOND, True),
        (T + 300 * SECOND + 1, False),
        (MIN_AT, True),
        (MIN_AT - 1, False),
        (0, False),
        (-(10**18), False),
    ],
)
def test_a_time_is_usable_from_2015_to_the_allowed_lead(at: int, expected: bool) -> None:
    assert usable(at, T, 300 * SECOND) is expected


def test_no_lead_makes_a_time_usable_that_no_reader_can_represent() -> None:
    assert not usable(MAX_AT + 1, MAX_AT, 10**30)


@pytest.mark.parametrize(
    "value, expected",
    [
        (10**11 - 1, (10**11 - 1) * SECOND),
        (10**11, 10**14),
        (10**14 - 1, (10**14 - 1) * 1000),
        (10**14, 10**14),
        (10**17 - 1, 10**17 - 1),
        (10**17, 10**14),
        (10**20 - 1, 10**17 - 1),
    ],
)
def test_the_size_of_an_epoch_number_tells_its_unit(value: int, expected: int) -> None:
    assert micros(value) == expected
    assert micros(str(value)) == expected
    assert micros(-value) == (-expected if value < 10**17 else -value // 1000)


def test_the_unit_of_a_fraction_is_told_by_its_size_too() -> None:
    assert micros(99_999_999_999.5) == 99_999_999_999_500_000
    assert micros(100_000_000_000.5) == 100_000_000_000_500


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800 * SECOND + 500_000),
        ("20161231T235960Z", 1_483_228_800 * SECOND),
    ],
)
def test_a_leap_second_is_the_first_second_of_the_next_minute(text: str, expected: int) -> None:
    assert micros(text) == expected


def test_a_time_as_text_has_at_most_64_characters() -> None:
    assert micros("1767225600" + " " * 500) == T
    assert micros("2026-01-01T00:00:00." + "0" * 43 + "Z") == T
    assert isinstance(micros("2026-01-01T00:00:00." + "0" * 44 + "Z"), str)


@pytest.mark.parametrize(
    "at, expected",
    [
        (T + 300 * SECOND, True),
        (T + 300 * SECOND + 1, False),
        (T - 31 * DAY, True),
        (T - 31 * DAY - 1, False),
    ],
)
def test_a_devices_clock_may_be_five_minutes_ahead_and_31_days_behind(at: int, expected: bool) -> None:
    assert device_usable(at, T, Liveness()) is expected


def test_the_usable_times_begin_with_2015_and_end_with_9999() -> None:
    assert micros("2015-01-01T00:00:00Z") == MIN_AT
    assert micros("9999-12-31T23:59:59.999999Z") == MAX_AT
    wide = Liveness(max_ahead=10**30, max_behind=10**30)
    assert [device_usable(at, T, wide) for at in (MIN_AT - 1, MIN_AT, MAX_AT, MAX_AT + 1)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert usable(MAX_AT, MAX_AT, 10**30)
