"""Topic filters and reason codes."""

import pytest

from ingest.mqtt.filters import filter_fault
from ingest.mqtt.reasons import in_words, without


@pytest.mark.parametrize(
    "good",
    [
        "#",
        "+",
        "a",
        "/",
        "a/+/c",
        "a/#",
        "+/+/#",
        "$share/group/a/+",
        "$share/g/#",
        "$SYS/#",
        "a b/ü",
        "$share/g//",
    ],
)
def test_a_sound_filter_has_no_fault(good: str) -> None:
    assert filter_fault(good) is None


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a/#/b",
        "a#",
        "#a",
        "a+/b",
        "+a",
        "a\0b",
        "a" * 65_536,
        "\ud800",
        "$share",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/#/a",
        "$share/g/a#",
    ],
)
def test_a_filter_that_a_broker_would_hang_up_on_has_a_fault(bad: str) -> None:
    assert filter_fault(bad)


def test_reasons_are_words_and_what_the_broker_adds_is_short_printable_and_without_the_password() -> None:
    assert in_words(0x8E) == "session taken over"
    assert in_words(0x87, "no\nway\x1b[31m") == "not authorized: no way [31m"
    assert len(in_words(0x87, "x" * 10_000)) < 250
    assert in_words(0xFE) == "unknown reason"
    assert without("secret", "your secret is wrong") == "your *** is wrong"
    assert without(None, "text") == "text"
