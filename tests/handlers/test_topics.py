import pytest

from handlers import topics
from handlers.topics import Topics


def test_without_settings_the_three_documented_topics_are_read() -> None:
    default = Topics.parse(None)
    assert default.filters() == ["devices/+/telemetry", "devices/+/connection", "devices/+/status"]
    for kind in ("telemetry", "connection", "status"):
        assert default.match(f"devices/d-1/{kind}") == ("d-1", kind)


def test_a_kind_that_is_not_named_keeps_its_default_and_an_empty_list_drops_it() -> None:
    some = Topics.parse({"telemetry": "t/{device_id}", "status": []})
    assert some.filters() == ["t/+", "devices/+/connection"]


@pytest.mark.parametrize(
    "pattern, topic, device_id",
    [
        ("a/{device_id}/b", "a/x/b", "x"),
        ("a/{device_id}/b", "a/x/c", None),
        ("a/{device_id}/b", "a/x/y/b", None),
        ("a/{device_id}/b", "A/x/b", None),
        ("a/{device_id}/b", "a//b", ""),
        ("a/{device_id}/b", "a/x\n/b", "x\n"),
        ("a/{device_id}/b", "/a/x/b", None),
        ("a/{device_id}/b", "a/x/b/", None),
        ("{}/{device_id}/b", "site 7/x/b", "x"),
        ("+/{device_id}/b", "site.7/x/b", "x"),
        ("{device_id}", "x", "x"),
        ("{device_id}", "$SYS", None),
        ("+/{device_id}", "$SYS/uptime", None),
        ("$aws/{device_id}", "$aws/x", "x"),
        ("a/{device_id}/#", "a/x", "x"),
        ("a/{device_id}/#", "a/x/", "x"),
        ("a/{device_id}/#", "a/x/b/c\n/d", "x"),
        ("a/{device_id}/#", "b/x/b", None),
        ("a.b/{device_id}", "aXb/x", None),
        ("a/{device_id}", "a/ünï", "ünï"),
    ],
)
def test_a_pattern_names_exactly_one_level_as_the_device(
    pattern: str, topic: str, device_id: str | None
) -> None:
    some = Topics.parse({"telemetry": pattern})
    for _ in range(2):
        assert some.match(topic) == (None if device_id is None else (device_id, "telemetry"))


def test_filters_are_what_the_broker_understands_and_each_comes_once() -> None:
    some = Topics.parse(
        {"telemetry": ["{}/{device_id}/#", "{}/{device_id}/#"], "connection": [], "status": "s/{device_id}"}
    )
    assert some.filters() == ["s/+", "+/+/#"]


def test_the_most_specific_pattern_wins_whatever_the_order_in_the_settings() -> None:
    some = Topics.parse({"telemetry": "devices/{device_id}/#"})
    assert some.match("devices/x/status") == ("x", "status")
    assert some.match("devices/x/other") == ("x", "telemetry")


@pytest.mark.parametrize(
    "settings, part",
    [
        ({"telemetry": "devices/telemetry"}, "exactly one level {device_id}"),
        ({"telemetry": "{device_id}/{device_id}"}, "exactly one level {device_id}"),
        ({"telemetry": "dev-{device_id}/t"}, "must be a whole level"),
        ({"telemetry": "{org}/{device_id}"}, "{} for any one level"),
        ({"telemetry": "a+/{device_id}"}, '"+" cannot be part'),
        ({"telemetry": "#/{device_id}"}, "only be the last level"),
        ({"telemetry": "{device_id}/a#"}, '"#" cannot be part'),
        ({"telemetry": ""}, "is empty"),
        ({"telemetry": "a\0/{device_id}"}, "NUL"),
        ({"telemetry": "\ud800/{device_id}"}, "lone surrogate"),
        ({"telemetry": "a" * 2000}, "at most 1024"),
        ({"telemetry": "$share/g/{device_id}"}, "leave out $share"),
        ({"telemetry": ["a/{device_id}", 3]}, "topics.telemetry"),
        ({"telemetry": 3}, "topics.telemetry"),
        ({"telemtry": "a/{device_id}"}, "use one of telemetry, connection, status"),
        (["a/{device_id}"], "must be an object"),
        ({"telemetry": "devices/{device_id}/status"}, "both telemetry and status"),
        ({"telemetry": ["{}/{device_id}", "{device_id}/{}"]}, "names the device at two places"),
        ({"telemetry": [], "connection": [], "status": []}, "name at least one"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong_where_and_what_to_do(settings: object, part: str) -> None:
    with pytest.raises(ValueError, match=r"^topics") as raised:
        Topics.parse(settings)  # type: ignore[arg-type]
    assert part in str(raised.value)
    str(raised.value).encode()


def test_the_memory_of_matches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_CACHED", 10)
    some = Topics.parse(None)
    for n in range(100):
        assert some.match(f"devices/{n}/status") == (str(n), "status")
        assert some.match(f"other/{n}" + "x" * 600) is None
        assert len(some._routes) <= 10


def test_a_short_topic_is_remembered_and_a_long_or_foreign_one_is_matched_each_time() -> None:
    some = Topics.parse({"telemetry": "{device_id}"})
    kept, long, foreign = "x" * 128, "x" * 129, "ünï"
    for topic in (kept, long, foreign):
        assert some.match(topic) == (topic, "telemetry")
    assert list(some._routes) == [kept]


def test_64_patterns_of_a_kind_are_taken_and_no_more() -> None:
    assert (
        len(Topics.parse({"telemetry": [f"{n}/{{device_id}}" for n in range(64)]}).filters("telemetry")) == 64
    )
    with pytest.raises(ValueError, match="at most 64"):
        Topics.parse({"telemetry": [f"{n}/{{device_id}}" for n in range(65)]})


def test_a_pattern_has_at_most_1024_characters() -> None:
    pattern = "{device_id}/".ljust(1024, "x")
    assert Topics.parse({"telemetry": pattern}).match(pattern.replace("{device_id}", "d")) == (
        "d",
        "telemetry",
    )
    with pytest.raises(ValueError, match="at most 1024"):
        Topics.parse({"telemetry": pattern + "x"})


def test_a_device_id_in_a_topic_has_at_most_255_characters() -> None:
    some = Topics.parse(None)
    fits, long = (some.route(f"devices/{'x' * length}/status") for length in (255, 256))
    assert fits
    assert fits.error is None
    assert long
    assert "at most 255" in str(long.error)


@pytest.mark.parametrize(
    "telemetry, status, apart",
    [
        ("t/{device_id}", "s/{device_id}", True),
        ("{}/{device_id}", "s/{device_id}", False),
        ("t/{device_id}/#", "t/{device_id}/s", False),
        ("t/{device_id}/#", "{}/{device_id}", False),
        ("t/{device_id}/x/#", "t/{device_id}", True),
        ("t/{device_id}/#", "s/{device_id}", True),
        ("t/{device_id}", "s/{device_id}/#", True),
        ("t/{device_id}/x", "t/{device_id}", True),
        ("t/{device_id}", "t/{device_id}/x", True),
        ("t/{device_id}/x", "t/{device_id}/#", False),
    ],
)
def test_telemetry_is_shared_only_where_no_topic_of_presence_matches_it(
    telemetry: str, status: str, apart: bool
) -> None:
    some = Topics.parse({"telemetry": telemetry, "status": status, "connection": []})
    if apart:
        assert some.shared() == some.filters("telemetry")
    else:
        with pytest.raises(ValueError, match="cannot be shared"):
            some.shared()


def test_topics_are_the_same_whatever_was_matched_with_them() -> None:
    used, fresh = Topics.parse(None), Topics.parse(None)
    used.match("devices/d/status")
    assert used == fresh
    assert repr(used) == repr(fresh)
