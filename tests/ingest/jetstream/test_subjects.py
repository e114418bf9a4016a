"""Topics and subjects, as the server writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.jetstream.subjects import subjects_of, topic_of


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("a/b/c", "a.b.c"),
        ("/a/b", "/.a.b"),
        ("a/b/", "a.b./"),
        ("a//b", "a./.b"),
        ("a///b", "a././.b"),
        ("//a/b", "/./.a.b"),
        ("a.b/c", "a//b.c"),
        ("devices/+/telemetry", "devices.*.telemetry"),
    ],
)
def test_topics_become_the_subjects_of_the_documentation(topic: str, subject: str) -> None:
    assert subjects_of(topic) == [subject]
    if "+" not in topic:
        assert topic_of(subject) == topic


@given(st.text("a/.", min_size=1, max_size=12))
def test_a_topic_comes_back_from_its_subject(topic: str) -> None:
    assert [topic_of(one) for one in subjects_of(topic)] == [topic]


def test_a_hash_also_matches_its_parent() -> None:
    assert subjects_of("a/+/#") == ["a.*.>", "a.*"]
    assert subjects_of("#") == [">"]


@pytest.mark.parametrize("topic", ["a b", "a/*", "a/>", "a\tb"])
def test_what_no_subject_can_have_is_an_error_that_names_it(topic: str) -> None:
    with pytest.raises(ValueError, match="NATS cannot have"):
        subjects_of(topic)
