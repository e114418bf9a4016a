from collections.abc import Callable

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
