import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from handlers import units


@pytest.mark.parametrize(
    "value, expected",
    [
        (0, 0), (100, 100), (87, 87), (86.5, 87), (86.49, 86), (5.5, 6), ("87%", 87),
        ("0.5%", 1), (" 86.5 % ", 87), ("87", 87),
    ],
)  # fmt: skip
def test_battery_is_percent_rounded_half_up(value: object, expected: int) -> None:
    assert units.battery(value) == expected


@pytest.mark.parametrize(
    "value, expected",
    [
        (-150, -150), (0, 0), (-71, -71), (-71.5, -71), (-71.6, -72), ("-71", -71), ("-71 dBm", -71), ("75%", -62),
        ("0%", -100), ("100%", -50),
    ],
)  # fmt: skip
def test_signal_is_dbm_or_converted_from_percent_text(value: object, expected: int) -> None:
    assert units.signal(value) == expected


@pytest.mark.parametrize(
    "value, expected", [(0, -113), (1, -111), (30, -53), (31, -51), ("20", -73), (20.0, -73), (99, None)]
)
def test_csq_follows_ts_27_007_and_99_means_nothing(value: object, expected: int | None) -> None:
    assert units.csq(value) == expected


@pytest.mark.parametrize(
    "value, expected",
    [(2500, 0), (3270, 0), (3440, 3), (3840, 50), (3845, 53), (4200, 100), (4500, 100), ("3840 mV", 50)],
)
def test_millivolts_follow_the_documented_curve(value: object, expected: int) -> None:
    assert units.battery_mv(value) == expected


CURVE = (
    (3270, 0), (3610, 5), (3690, 10), (3710, 15), (3730, 20), (3750, 25), (3770, 30), (3790, 35), (3800, 40),
    (3820, 45), (3840, 50), (3850, 55), (3870, 60), (3910, 65), (3950, 70), (3980, 75), (4020, 80), (4080, 85),
    (4110, 90), (4150, 95), (4200, 100),
)  # fmt: skip


def rounded(level: float) -> int:
    return math.floor(level + 0.5)


@pytest.mark.parametrize("below, above", list(pairwise(CURVE)))
def test_between_two_points_of_the_curve_the_level_is_linear(
    below: tuple[int, int], above: tuple[int, int]
) -> None:
    (low, level), (high, next_level) = below, above
    assert (units.battery_mv(low), units.battery_mv(high)) == (level, next_level)
    for tenth in range(low * 10, high * 10 + 1):
        share = (tenth / 10 - low) / (high - low)
        assert units.battery_mv(tenth / 10) == rounded(level + (next_level - level) * share)


@pytest.mark.parametrize("value", [1e15, -1e15, 10**400, -(10**400)])
def test_a_number_beyond_all_units_is_refused_as_outside(value: float) -> None:
    for convert in (units.battery, units.battery_mv, units.signal, units.csq):
        assert "outside" in str(convert(value))


@pytest.mark.parametrize(
    "value, expected",
    [(0, None), (-1, -1), (-126, -126), (-127, None), (-128, None), (-129, -129), (-150, -150)],
)
def test_what_a_radio_reports_without_a_signal_is_nothing(value: int, expected: int | None) -> None:
    assert units.radio(value) == expected


@pytest.mark.parametrize("value", [0.87, 3.7, 4.99, "0.5", -0.0001])
def test_a_fraction_below_five_is_no_percentage(value: object) -> None:
    assert isinstance(units.battery(value), str)


@pytest.mark.parametrize("value, expected", [(5.01, 5), (1.0, 1), (4.0, 4), ("4.99%", 5), (99.5, 100)])
def test_a_fraction_from_five_on_is_percent_and_so_is_a_whole_number(value: object, expected: int) -> None:
    assert units.battery(value) == expected


def test_a_battery_may_be_an_object_whose_preferred_key_counts() -> None:
    assert units.battery({"V": 4.1, "soc": 5, "percent": 87}) == 87
    assert units.battery({"percent": None, "Battery Level": 55}) == 55
    assert "not a battery level" in str(units.battery({"V": 4.1}))
    assert units.battery({"percent": 7, "Percent": 8}) == units.battery({"Percent": 8, "percent": 7}) == 8


@pytest.mark.parametrize("value, hint", [(2499, False), (2500, True), (4500, True), (4501, False)])
def test_only_a_number_that_may_be_millivolts_gets_the_hint_to_send_them_as_such(
    value: int, hint: bool
) -> None:
    assert ("battery_mv" in str(units.battery(value))) is hint


@pytest.mark.parametrize("text, expected", [("9" + " " * 63, 9), ("9" + " " * 64, None), ("8\u202f%", 8)])
def test_a_figure_as_text_has_at_most_64_characters(text: str, expected: int | None) -> None:
    found = units.battery(text)
    assert found == expected if expected is not None else isinstance(found, str)


def test_the_curve_never_falls_as_the_voltage_rises() -> None:
    levels = [units.battery_mv(millivolts) for millivolts in range(units.MIN_MV, units.MAX_MV + 1)]
    assert levels == sorted(levels, key=lambda level: level if isinstance(level, int) else 1000)
    assert levels[0] == 0
    assert levels[-1] == 100


@pytest.mark.parametrize(
    "convert, value, part",
    [
        (units.battery, 101, "outside 0..100"),
        (units.battery, -1, "outside 0..100"),
        (units.battery, 3700, "send millivolts as battery_mv"),
        (units.battery, "full", "not a battery level"),
        (units.battery, "-5 dBm", "not a battery level"),
        (units.battery_mv, 2499, "outside 2500..4500"),
        (units.battery_mv, 4501, "outside 2500..4500"),
        (units.battery_mv, 3.7, "outside 2500..4500"),
        (units.signal, 71, "positive: send dBm"),
        (units.signal, 150, 'a CSQ index as "csq"'),
        (units.signal, 0.5, "positive"),
        (units.signal, 151, "outside -150..0"),
        (units.signal, -151, "outside -150..0"),
        (units.signal, "120%", "outside 0%..100%"),
        (units.csq, 32, "outside 0..31"),
        (units.csq, -1, "outside 0..31"),
        (units.csq, 15.5, "whole number"),
        (units.csq, "75%", "whole number"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_to_send(
    convert: Callable[[object], object], value: object, part: str
) -> None:
    assert part in str(convert(value))


@pytest.mark.parametrize("convert", [units.battery, units.battery_mv, units.signal, units.csq])
@pytest.mark.parametrize(
    "value",
    [True, False, None, [], {}, "", "x", "٣", "1" * 10_000, "\0", "\ud800", 10**400, -(10**400), float("nan"),
     float("inf"), float("-inf"), 1e308],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_no_value_is_worse_than_an_error(convert: Callable[[object], object], value: object) -> None:
    error = convert(value)
    assert isinstance(error, str)
    assert len(error) <= 300
    error.encode()


@pytest.mark.parametrize(
    "value, expected",
    [
        ("0%", -100),
        ("100%", -50),
        (-0.5, 0),
        (-150.0, -150),
        ("-0.5%", None),
        ("100.5%", None),
        (-150.5, None),
        (0.5, None),
    ],
)
def test_a_signal_between_whole_numbers_has_the_same_bounds(value: object, expected: int | None) -> None:
    found = units.signal(value)
    assert found == expected if expected is not None else isinstance(found, str)


@pytest.mark.parametrize(
    "convert, value", [(units.battery, -0.5), (units.battery, "100.5%"), (units.csq, "-1"), (units.csq, 31.5)]
)
def test_a_figure_just_outside_its_bounds_is_refused(
    convert: Callable[[object], object], value: object
) -> None:
    assert isinstance(convert(value), str)
