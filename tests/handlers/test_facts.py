"""Provider facts of a device: read, bounded and storable, at both sides of each bound."""

import pytest

from handlers import facts
from handlers.events import Facts, FieldError


def problems(errors: list[FieldError]) -> list[str]:
    return [f"{one.field} {one.error}" for one in errors]


@pytest.mark.parametrize(
    "value, kept, problem",
    [
        ("abc", "abc", None),
        (" abc ", "abc", None),
        ("abcd", None, "k has 4 characters, at most 3 fit"),
        (12, "12", None),
        (True, None, "k is true, not text"),
        (1.5, None, "k is 1.5, not text"),
        (None, None, None),
    ],
)
def test_a_fact_is_short_text_or_a_whole_number(value: object, kept: str | None, problem: str | None) -> None:
    errors: list[FieldError] = []
    assert facts.text({"k": value}, ("k",), 3, errors) == kept
    assert problems(errors) == ([problem] if problem else [])


@pytest.mark.parametrize("number", [10**18 - 1, 1 - 10**18])
def test_a_number_of_18_digits_is_text_and_a_longer_one_is_not(number: int) -> None:
    assert facts.text({"k": number}, ("k",), 50, []) == str(number)
    assert facts.text({"k": number + (1 if number > 0 else -1)}, ("k",), 50, []) is None


def test_the_first_key_that_is_usable_counts() -> None:
    errors: list[FieldError] = []
    assert facts.text({"b": "x", "a": []}, ("a", "b"), 9, errors) == "x"
    assert problems(errors) == ["a is an array, not text"]
    assert facts.texts({"b": ["y", "x", " y"], "a": 3}, ("a", "b"), 9, errors) == ("x", "y")
    assert facts.texts({"a": "x"}, ("a",), 9, []) == ("x",)
    assert facts.texts({}, ("a",), 9, []) is None


def test_32_entries_of_a_list_are_kept_and_each_that_is_unusable_costs_only_itself() -> None:
    errors: list[FieldError] = []
    kept = facts.texts({"k": [f"t{n:02}" for n in range(32)]}, ("k",), 9, errors)
    assert kept == tuple(f"t{n:02}" for n in range(32))
    assert errors == []
    kept = facts.texts({"k": [f"t{n:02}" for n in range(34)]}, ("k",), 9, errors)
    assert kept == tuple(f"t{n:02}" for n in range(32))
    assert problems(errors) == ["k has 34 entries: 32 are kept"]
    errors.clear()
    assert facts.texts({"k": ["x" * 10, "y", 3]}, ("k",), 9, errors) == ("y",)
    assert problems(errors) == ["k has 10 characters, at most 9 fit", "k is 3, not text"]


def test_names_and_ids_and_tags_have_at_most_255_characters() -> None:
    assert {facts.MAX_NAME, facts.MAX_HARDWARE_ID, facts.MAX_COHORT_ID, facts.MAX_TAG} == {255}


@pytest.mark.parametrize(
    "word, status",
    [(" Enabled ", "enabled"), ("disabled" + " " * 56, "disabled"), ("disabled" + " " * 57, None), (1, None)],
)
def test_a_word_about_being_enabled_is_known_in_any_case(word: object, status: str | None) -> None:
    assert facts.golioth_status(word) == status


@pytest.mark.parametrize("count, kept, problem", [(64, 64, []), (65, 64, ["has 65 keys"])])
def test_64_keys_of_metadata_are_kept(count: int, kept: int, problem: list[str]) -> None:
    errors: list[FieldError] = []
    found = facts.metadata({f"k{n:02}": n for n in range(count)}, errors)
    assert found == {f"k{n:02}": n for n in range(kept)}
    assert [error[: len("has 65 keys")] for _, error, _ in errors] == problem


def test_a_key_of_metadata_has_at_most_64_characters_and_a_value_1024_bytes() -> None:
    errors: list[FieldError] = []
    assert facts.metadata({"k" * 64: "x" * 1022}, errors) == {"k" * 64: "x" * 1022}
    assert errors == []
    assert facts.metadata({"k" * 65: 1, "v": "x" * 1023}, errors) == {}
    assert [error for _, error, _ in errors] == [
        "has 65 characters, at most 64 fit",
        "has 1025 bytes, at most 1024 are kept",
    ]


def test_metadata_has_at_most_16384_bytes_of_keys_and_values() -> None:
    fits = {f"k{n:02}": "x" * (1024 - 3 - 2) for n in range(16)}
    errors: list[FieldError] = []
    assert facts.metadata(fits, errors) == fits
    assert errors == []
    more = {**fits, "k15": "x" * (1024 - 3 - 1)}
    assert facts.metadata(more, errors) == {key: more[key] for key in list(more)[:15]}
    assert len(errors) == 1


def test_facts_are_told_one_by_one_and_what_was_not_said_is_left_out() -> None:
    said = Facts(name="n", hardware_ids=(), metadata={"b": None, "a": {"y": 1, "x": 2}}, tags=())
    assert list(facts.told(said)) == [
        ("name", '"n"'),
        ("metadata.a", '{"x":2,"y":1}'),
        ("metadata.tags", "[]"),
    ]
