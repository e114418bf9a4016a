"""A field path that leads nowhere is named in the log, once; a wrong one stops the integration with its name."""

import pytest

from handlers.dialects.plain import Context, decode
from handlers.events import Publish
from handlers.paths import FieldPaths
from handlers.topics import Topics
from ingest.errors import Misconfigured
from ingest.integrations.field_paths import AFTER_MESSAGES, warn_of_missing
from ingest.integrations.settings import mqtt_settings, webhook_settings
from tests.handlers.test_plain import INTEGRATION, NOW


def test_a_path_that_never_matched_does_not_stay_unnoticed(caplog: pytest.LogCaptureFixture) -> None:
    paths = FieldPaths({"rssi": "rxInfo.0.rssi", "battery": "data.bat"})
    context = Context(INTEGRATION, Topics.parse(None), field_paths=paths)
    body = b'{"rxInfo":[{"rssi":-110}],"data":{}}'
    for _ in range(AFTER_MESSAGES):
        warn_of_missing("m", paths)
        assert not caplog.records
        decode(Publish("devices/d/telemetry", body, 1, False, False, 1, NOW, len(body)), context, None)
    warn_of_missing("m", paths)
    warn_of_missing("m", paths)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"integration 'm': field_paths: battery: 'data.bat' has matched in none of {AFTER_MESSAGES} messages"
    )


@pytest.mark.parametrize("read", [mqtt_settings, webhook_settings])
@pytest.mark.parametrize(
    "settings, name",
    [
        ({"field_paths": {"rssi": "a..b"}}, "field_paths"),
        ({"presence_words": {"onlnie": ["ON"]}}, "presence_words"),
        ({"presence_words": {"online": ["a"], "offline": ["A"]}}, "presence_words"),
        ({"presence_words": {"online": [""]}}, "presence_words"),
        ({"max_behind_s": 5}, "max_behind_s"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(read: object, settings: object, name: str) -> None:
    with pytest.raises(Misconfigured, match=rf"integration 'm': {name}"):
        read(settings, "m")


@pytest.mark.parametrize("read", [mqtt_settings, webhook_settings])
def test_one_word_may_be_text(read: object) -> None:
    words = read({"presence_words": {"online": "ON"}}, "m").presence_words.words
    assert words["on"] == "online"
