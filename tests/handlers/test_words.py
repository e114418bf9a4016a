"""Words for presence: what is not known is no evidence, and what disagrees is offline."""

import pytest

from handlers.dialects.plain import Context, decode
from handlers.events import FieldError, Presence
from handlers.topics import Topics
from handlers.words import WORDS, meaning, spoken, vocabulary
from tests.handlers.test_plain import INTEGRATION, decoded, failed, one, publish

ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


@pytest.mark.parametrize(
    "payload, presence",
    [
        ('{"online":true}', ONLINE), ('{"online":false}', OFFLINE), ('{"online":"0"}', OFFLINE), ("alive", ONLINE),
        ('{"alive":1}', ONLINE), ('{"event":"connect"}', ONLINE), ('{"event":"disconnect"}', OFFLINE),
        ('{"event":"client.connected"}', ONLINE), ('{"event":"client.disconnected","reason":"tcp_closed"}', OFFLINE),
        ('{"event":"device.disconnected"}', OFFLINE), ('{"event":"device_offline"}', OFFLINE), ("inactive", OFFLINE),
        ('{"state":"lost"}', OFFLINE), ("connection lost", OFFLINE), ('{"connected":"no"}', OFFLINE),
        ('{"connected":"Yes"}', ONLINE), ('{"online":"off"}', OFFLINE), ('{"connectionState":"Disconnected"}', OFFLINE),
        ('{"connection_state":"connected"}', ONLINE), ('{"connection-state":"connected"}', ONLINE),
        ('{"status":0,"connected":true}', ONLINE), ('{"status":200,"online":"yes"}', ONLINE),
    ],
)  # fmt: skip
def test_the_usual_words_of_senders_are_known(payload: str, presence: Presence) -> None:
    result = decoded(payload, "connection")
    assert one(result).presence is presence
    assert result.field_errors == ()


@pytest.mark.parametrize(
    "payload, field",
    [
        ('{"event":"boot","connected":true}', "event"),
        ('{"status":"ok","event":"connected"}', "status"),
        ('{"status":[1],"online":true}', "status"),
        ('{"online":2,"state":"online"}', "online"),
    ],
)
def test_an_unknown_word_beside_a_known_one_is_an_error_of_its_field(payload: str, field: str) -> None:
    result = decoded(payload, "connection")
    assert one(result).presence is ONLINE
    assert failed(result) == [field]
    assert result.field_errors[0].value


@pytest.mark.parametrize(
    "payload, field",
    [
        ('{"connected":false,"status":"online"}', "status"),
        ('{"status":"offline","online":true}', "online"),
        ('{"state":"online","data":{"event":"disconnected"}}', "state"),
        ('{"online":true,"alive":0}', "online"),
    ],
)
def test_where_two_keys_disagree_no_device_is_online(payload: str, field: str) -> None:
    result = decoded(payload, "status")
    assert one(result).presence is OFFLINE
    assert failed(result) == [field]


@pytest.mark.parametrize(
    "word", ["client.connack", "not online", "not.connected", "session.subscribed", "on", "no", "x" * 65, ""]
)
def test_what_is_not_known_means_nothing(word: str) -> None:
    assert meaning(word) is None
    errors: list[FieldError] = []
    assert spoken([("event", word)], errors) is None
    assert [error.field for error in errors] == ["event"]


def test_words_of_the_integration_count_and_win_over_the_usual() -> None:
    words = vocabulary(["ON", " up "], ["OFF", "1"])
    own = Context(INTEGRATION, Topics.parse(None), words=words)
    for payload, presence in (
        ("ON", ONLINE),
        ("Up", ONLINE),
        ("off", OFFLINE),
        ("1", OFFLINE),
        ('{"status":1}', OFFLINE),
        ("online", ONLINE),
    ):
        assert one(decode(publish(payload, "connection"), own, None)).presence is presence
    assert vocabulary([], []) is WORDS


@pytest.mark.parametrize("online, offline", [(["a"], ["A"]), ([""], []), ([], ["x" * 65])])
def test_words_that_cannot_be_are_refused(online: list[str], offline: list[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        vocabulary(online, offline)


def test_a_word_has_at_most_64_characters() -> None:
    assert meaning("online" + " " * 58) is ONLINE
    assert meaning("online" + " " * 59) is None
    assert vocabulary(["x" * 64], [])["x" * 64] is ONLINE


@pytest.mark.parametrize(
    "number, said",
    [(1, ONLINE), (1.0, ONLINE), (0, OFFLINE), (-0.0, OFFLINE), (0.5, None), (2, None), (-1, None)],
)
def test_one_says_online_and_nought_offline(number: float, said: Presence | None) -> None:
    assert meaning(number) is said


def test_a_number_below_10_to_the_15_may_be_a_word_of_the_integration() -> None:
    words = vocabulary([str(10**15 - 1), str(1 - 10**15), str(10**15), str(-(10**15))], [])
    assert [meaning(number, words) for number in (10**15 - 1, 1 - 10**15, 10**15, -(10**15))] == [
        ONLINE, ONLINE, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 1e300])
def test_a_number_without_an_end_means_nothing(number: float) -> None:
    assert meaning(number) is None


@pytest.mark.parametrize(
    "word, said",
    [
        ("client.disconnected", OFFLINE), ("device_offline", OFFLINE), ("connection lost", OFFLINE),
        ("client.not.connected", None), ("session.connected", None), ("client", None), ("device connected", ONLINE),
    ],
)  # fmt: skip
def test_a_subject_may_stand_before_one_word(word: str, said: Presence | None) -> None:
    assert meaning(word) is said


@pytest.mark.parametrize(
    "said, presence, errors",
    [
        ([("status", 1)], ONLINE, []),
        ([("status", 0), ("event", "online")], ONLINE, []),
        ([("status", 200), ("connected", 0)], OFFLINE, []),
        ([("status", 1), ("event", "odd")], ONLINE, ["event"]),
        ([("status", 200), ("state", 7)], None, ["status", "state"]),
        ([("connected", "no"), ("status", "x")], OFFLINE, ["status"]),
        ([("status", "no"), ("event", "x")], None, ["status", "event"]),
        ([("status", True), ("connected", "yes")], ONLINE, []),
    ],
)
def test_of_several_keys_a_number_that_is_no_answer_counts_only_where_nothing_else_does(
    said: list[tuple[str, object]], presence: Presence | None, errors: list[str]
) -> None:
    found: list[FieldError] = []
    assert spoken(said, found) is presence
    assert [error.field for error in found] == errors
