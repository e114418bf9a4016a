import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.versions import later, order

# Source: Semantic Versioning 2.0.0, 11.2 and 11.4
ASCENDING = [
    "0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
    "1.0.0-rc.1", "v1.0.0", "1.0.1", "1.2", "1.10.0", "2.0.0",
]  # fmt: skip


@pytest.mark.parametrize("lower, higher", list(itertools.combinations(ASCENDING, 2)))
def test_the_standards_own_order_holds(lower: str, higher: str) -> None:
    assert later(higher, lower) is True
    assert later(lower, higher) is False


def test_build_metadata_does_not_count() -> None:
    assert later("1.0.0+build9", "1.0.0+build1") is False


@pytest.mark.parametrize("version", ["", "nightly", "1", "2024-01-01", "1.2.3.4", "a.b.c", "1.2.x"])
def test_what_is_no_semantic_version_is_not_compared(version: str) -> None:
    assert later(version, "1.0.0") is None
    assert later("1.0.0", version) is None


@given(st.text(max_size=60))
def test_any_text_has_an_order_or_none(text: str) -> None:
    found = order(text)
    assert found is None or later(text, text) is False


def test_numbers_in_a_version_have_at_most_nine_digits_and_in_a_pre_release_18() -> None:
    assert later("999999999.0", "1.0") is True
    assert order("1000000000.0") is None
    assert later("1.0-" + "9" * 18, "1.0-1" + "0" * 17) is True
    assert later("1.0-" + "1" + "0" * 18, "1.0-" + "9" * 18) is True
    assert later("1.0-1" + "0" * 18, "1.0-9" + "0" * 18) is False


def test_a_version_without_a_patch_is_that_of_patch_0() -> None:
    assert later("1.2", "1.2.0") is later("1.2.0", "1.2") is False


def test_a_number_in_a_pre_release_comes_before_a_word_and_compares_as_a_number() -> None:
    assert later("1.0-a", "1.0-99") is True
    assert later("1.0-10", "1.0-9") is True


def test_a_number_of_19_digits_in_a_pre_release_is_a_word() -> None:
    assert later("1.0-" + "1" + "0" * 18, "1.0-0a") is True
    assert later("1.0-" + "1" + "0" * 17, "1.0-0a") is False
