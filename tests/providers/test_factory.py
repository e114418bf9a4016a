"""From an integration to a provider, and what is said when that cannot be."""

import subprocess
import sys

import pytest

from ingest.errors import Misconfigured
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings


@pytest.mark.parametrize("kind", ["", "Golioth", "google", "mqtt5"])
def test_an_unknown_type_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(Misconfigured, match="golioth, aws_iot, azure_iot, mqtt"):
        create_provider(ProviderSettings(kind))


def test_mqtt_needs_its_session() -> None:
    with pytest.raises(Misconfigured, match="session"):
        create_provider(ProviderSettings("mqtt"))


def test_golioth_says_which_field_is_missing() -> None:
    with pytest.raises(Misconfigured, match="API key is missing"):
        create_provider(ProviderSettings("golioth", "fleet"))
    with pytest.raises(Misconfigured, match="project_id is missing"):
        create_provider(ProviderSettings("golioth", None, None, "k"))


def test_neither_key_nor_settings_are_in_a_repr() -> None:
    settings = ProviderSettings("golioth", "fleet", None, "hush", {"password": "hush"})
    assert "hush" not in repr(settings)


def test_a_cloud_is_imported_when_it_is_used_and_names_its_extra() -> None:
    program = """
import sys
sys.modules["aiobotocore"] = None
from ingest.errors import Misconfigured
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
create_provider(ProviderSettings("golioth", "fleet", None, "k"))
assert not [name for name in sys.modules if name.startswith(("botocore", "ingest.providers.aws"))]
try:
    create_provider(ProviderSettings("aws_iot", None, None, "a:b", {"region": "r"}))
except Misconfigured as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'rollcall[aws]'" in done.stdout
