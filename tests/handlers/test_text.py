"""Texts as Postgres can hold them, and versions of firmware."""

import pytest

from handlers import events, text


@pytest.mark.parametrize(
    "value, error",
    [
        ("", "is empty"),
        ("abc", None),
        ("abcd", "has 4 characters, at most 3 fit"),
        ("a\0", "contains a NUL character, which Postgres cannot store"),
        ("ü", None),
        ("\ud800", "contains a lone surrogate, which is not a character"),
    ],
)
def test_a_text_that_no_column_can_hold_is_named(value: str, error: str | None) -> None:
    assert text.text_error(value, 3) == error


def test_a_long_text_is_shown_by_its_beginning() -> None:
    assert text.truncate("x" * 60) == "x" * 60
    assert text.truncate("x" * 61) == "x" * 57 + "..."
    assert text.described("x" * 40) == f'"{"x" * 40}"'
    assert text.described("x" * 41) == f'"{"x" * 37}..."'
    assert text.described(int("9" * 41)) == "9" * 37 + "..."
    assert len(text.clipped("x" * 300)) == 300
    assert text.clipped("x" * 301) == "x" * 297 + "..."


def test_an_error_of_a_field_names_it_and_shows_the_value() -> None:
    assert text.bad_field("f" * 90, "is bad", "v" * 58) == ("f" * 90, "is bad", f'"{"v" * 37}..."')
    assert text.bad_field("f" * 91, "is bad", None) == ("f" * 87 + "...", "is bad", "null")
    assert text.bad_field("", "is bad", {}) == ('""', "is bad", "an object")


@pytest.mark.parametrize(
    "value, named",
    [(None, "null"), (True, "true"), (False, "false"), (1.5, "1.5"), ({}, "an object"), ([], "an array")],
)
def test_a_value_is_described_without_its_content(value: object, named: str) -> None:
    assert text.described(value) == named


def test_a_dead_message_holds_nothing_but_its_reason() -> None:
    assert text.dead("json", "x" * 400) == ((), (), False, events.DeadReason("json", "x" * 297 + "..."))


@pytest.mark.parametrize("number", [0, 7, 10**18 - 1])
def test_a_whole_number_is_a_version(number: int) -> None:
    assert text.versions(number) == ((("main", str(number)),), None)
    assert text.versions({"modem": number}) == ((("modem", str(number)),), None)


@pytest.mark.parametrize("number", [-1, 10**18, True, 1.5])
def test_any_other_number_is_none(number: float) -> None:
    for value in (number, {"modem": number}):
        pairs, problem = text.versions(value)
        assert pairs == ()
        assert problem


def test_a_version_and_a_component_have_at_most_50_characters() -> None:
    assert text.versions("1" * 50) == ((("main", "1" * 50),), None)
    assert text.versions("1" * 51) == ((), "the version has 51 characters, at most 50 fit")
    assert text.versions({"c" * 50: "1" * 50}) == ((("c" * 50, "1" * 50),), None)
    for pair in ({"c" * 51: "1"}, {"c": "1" * 51}):
        pairs, problem = text.versions(pair)
        assert pairs == ()
        assert "at most 50" in str(problem)


def test_32_components_are_kept() -> None:
    pairs, problem = text.versions({f"c{n:02}": "1" for n in range(32)})
    assert (len(pairs), problem) == (32, None)
    pairs, problem = text.versions({f"c{n:02}": "1" for n in range(33)})
    assert [component for component, _ in pairs] == [f"c{n:02}" for n in range(32)]
    assert "the first 32" in str(problem)
