"""Conflicts: the winner where the row and the provider differ."""

import pytest

from handlers.conflicts import Decision, decide


@pytest.mark.parametrize("field", ["name", "metadata.tags", "serial_number"])
@pytest.mark.parametrize(
    "local, remote, agreed, decision",
    [
        ("x", "x", None, Decision("agree", "x")),
        ("x", "x", "old", Decision("agree", "x")),
        (None, "r", None, Decision("take", "r")),
        (None, "r", "old", Decision("take", "r")),
        ("old", "r", "old", Decision("take", "r")),
    ],
)
def test_where_only_the_provider_changed_its_value_is_taken_whatever_the_policy(
    field, local, remote, agreed, decision
):
    assert decide(field, local, remote, agreed) == decision


@pytest.mark.parametrize(
    "field, decision",
    [
        ("name", Decision("push", "l")),
        ("metadata.notes", Decision("push", "l")),
        ("metadata.description", Decision("push", "l")),
        ("metadata.tags", Decision("push", "l")),
        ("cohort_id", Decision("keep", "l")),
        ("metadata.colour", Decision("keep", "l")),
    ],
)
def test_where_only_the_row_changed_it_is_pushed_or_kept(field, decision):
    assert decide(field, "l", "old", "old") == decision


@pytest.mark.parametrize("agreed", [None, "old"])
@pytest.mark.parametrize(
    "field, decision",
    [
        ("name", Decision("push", "l")),
        ("metadata.tags", Decision("push", ["l", "r"])),
        ("cohort_id", Decision("conflict")),
        ("metadata.colour", Decision("conflict")),
    ],
)
def test_where_both_changed_the_policy_decides(field, decision, agreed):
    assert decide(field, "l", "r", agreed) == decision


def test_tags_are_united_with_the_rows_first_and_each_once():
    assert decide("metadata.tags", ["a", "b"], ["b", "c"], ["b"]).value == ["a", "b", "c"]


@pytest.mark.parametrize(
    "field, one, other, same",
    [
        ("hardware_ids", ["a", "b"], ["b", "a"], True),
        ("metadata.tags", ["a", "b"], ["b", "a"], True),
        ("metadata.list", ["a", "b"], ["b", "a"], False),
        ("hardware_ids", None, [], True),
        ("hardware_ids", [], None, True),
        ("hardware_ids", ["a"], ["a", "b"], False),
        ("hardware_ids", ["a", "b"], ["a"], False),
        ("hardware_ids", ["a", "c"], ["a", "b"], False),
        ("hardware_ids", "ab", ["a", "b"], False),
        ("metadata.list", None, [], False),
    ],
)
def test_lists_of_ids_and_tags_say_the_same_in_any_order_and_an_empty_one_says_nothing(
    field: str, one: object, other: object, same: bool
) -> None:
    assert (decide(field, one, other, None).kind == "agree") is same


@pytest.mark.parametrize(
    "local, remote, union", [("a", "b", ["a", "b"]), ("a", ["b", "a"], ["a", "b"]), (["a"], "a", None)]
)
def test_a_single_tag_counts_as_a_list_of_one(local: object, remote: object, union: object) -> None:
    decision = decide("metadata.tags", local, remote, None)
    assert decision == Decision("push", union if union is not None else ["a"])
