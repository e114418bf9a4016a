import pytest

from ingest.errors import Misconfigured
from ingest.integrations.settings import MqttSettings, mqtt_settings
from ingest.settings import load_settings


@pytest.fixture(autouse=True)
def _no_dotenv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLCALL_DATABASE_URL", raising=False)


def test_only_the_database_url_is_needed():
    settings = load_settings(database_url="postgresql://a/b")
    assert settings.offline_after_s == 900
    assert settings.direct_url == "postgresql://a/b"


def test_a_flag_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", "postgresql://environment/x")
    monkeypatch.setenv("ROLLCALL_MAX_BATCH", "7")
    settings = load_settings(database_url="postgresql://flag/x", max_batch=None)
    assert (settings.database_url, settings.max_batch) == ("postgresql://flag/x", 7)


def test_a_missing_variable_is_named():
    with pytest.raises(Misconfigured, match="ROLLCALL_DATABASE_URL is not set"):
        load_settings()


def test_a_wrong_variable_is_named_with_what_was_given_and_what_was_expected(monkeypatch):
    monkeypatch.setenv("ROLLCALL_OFFLINE_AFTER_S", "5")
    with pytest.raises(
        Misconfigured, match="ROLLCALL_OFFLINE_AFTER_S is '5': expected greater than or equal to 10"
    ):
        load_settings(database_url="postgresql://a/b")


def test_a_secret_is_not_repeated_in_the_message_or_the_repr():
    with pytest.raises(Misconfigured) as caught:
        mqtt_settings({"password": ["hunter2"]}, "plant")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(load_settings(database_url="postgresql://a/b", keys="k:hunter2"))


@pytest.mark.parametrize(
    "settings",
    [
        {"nats": {"servers": ["rollcall:hunter2@n1:4222"]}},
        {"nats": "nats://rollcall:hunter2@n1:4222"},
        {"tls": {"key_file": ["hunter2"]}},
        {"host": {"password": "hunter2"}},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(settings):
    with pytest.raises(Misconfigured, match="integration 'plant': ") as caught:
        mqtt_settings(settings, "plant")
    assert "hunter2" not in str(caught.value)


def test_an_empty_row_of_an_integration_has_every_default():
    settings = mqtt_settings(None, "plant")
    assert (settings.host, settings.port, settings.protocol) == ("127.0.0.1", 1883, "auto")
    assert settings.unknown_devices.policy == "create"


def test_a_wrong_key_of_an_integration_is_named_with_the_integration():
    with pytest.raises(
        Misconfigured, match="integration 'plant': port is 0: expected greater than or equal to 1"
    ):
        mqtt_settings({"port": 0}, "plant")


def test_tls_may_be_true_and_the_policy_a_word():
    settings = MqttSettings.model_validate({"tls": True, "unknown_devices": "park", "from_elsewhere": 1})
    assert settings.tls is not None
    assert settings.tls.verify_host
    assert settings.unknown_devices.policy == "park"


@pytest.mark.parametrize("host", ["plant..example", "x" * 64, ".example"])
def test_a_host_that_no_resolver_takes_is_refused_before_it_is_tried(host):
    with pytest.raises(Misconfigured, match=r"integration 'plant': host is .*: expected a host name"):
        mqtt_settings({"host": host}, "plant")


@pytest.mark.parametrize("host", ["::1", "192.0.2.1", "bücher.example", "broker.example.", "localhost"])
def test_a_host_may_be_a_name_or_an_address(host):
    assert mqtt_settings({"host": host}, "plant").host == host


@pytest.mark.parametrize("key", ["username", "client_id"])
def test_what_has_no_room_in_a_connect_is_refused_and_not_repeated_whole(key):
    with pytest.raises(Misconfigured, match=f"integration 'plant': {key} .*at most 16000 ") as caught:
        mqtt_settings({key: "\N{EARTH GLOBE EUROPE-AFRICA}" * 16_001}, "plant")
    assert len(str(caught.value)) < 400
