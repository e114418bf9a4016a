"""From the row of an mqtt integration to a plan: what cannot be used is said before anything is connected."""

import base64
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from ingest.crypto import Keyring, password_context
from ingest.errors import Misconfigured
from ingest.integrations.planner import Planner
from ingest.integrations.settings import LONGEST
from ingest.settings import load_settings
from ingest.store.config.integrations import IntegrationRow

KEYRING = Keyring.from_setting(SecretStr("a:" + base64.b64encode(bytes(32)).decode()))
PLANNER = Planner(load_settings(database_url="postgres://x"), KEYRING)


def clear(integration: UUID, password: str) -> str:
    return password


def encrypted(integration: UUID, password: str) -> str:
    return KEYRING.encrypt(password, password_context(integration))


@pytest.mark.parametrize("stored", [clear, encrypted])
def test_a_password_may_be_as_long_as_a_connect_has_room_for(stored):  # type: ignore[no-untyped-def]
    integration, password = uuid4(), "\N{EARTH GLOBE EUROPE-AFRICA}" * LONGEST
    row = IntegrationRow(integration, "plant", {"password": stored(integration, password)})
    assert PLANNER.plan(row).broker.password == password


@pytest.mark.parametrize("stored", [clear, encrypted])
def test_a_longer_password_is_refused_and_not_repeated(stored):  # type: ignore[no-untyped-def]
    integration = uuid4()
    row = IntegrationRow(integration, "plant", {"password": stored(integration, "x" * (LONGEST + 1))})
    with pytest.raises(Misconfigured) as caught:
        PLANNER.plan(row)
    assert str(caught.value) == "integration 'plant': password: expected at most 16000 characters"
