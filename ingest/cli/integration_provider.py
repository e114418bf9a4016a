"""What `rollcall integration add` does for a provider that can list its devices: its key comes by variable or stdin."""

import os
import sys
from typing import Any
from uuid import UUID

import orjson

from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
from ingest.reconcile.keys import sealed
from ingest.settings import Settings
from ingest.store import admin
from ingest.store.session import session


def key_of(variable: str | None) -> str:
    """Return the key that the variable holds; for `-` the first line of stdin. Raises: Misconfigured."""
    if variable == "-":
        key = sys.stdin.readline().strip()
    elif variable:
        key = os.environ.get(variable, "").strip()
    else:
        raise Misconfigured("--key-env names the variable that holds the provider's key, or - for stdin")
    if not key:
        raise Misconfigured(
            f"--key-env {variable}: {'stdin' if variable == '-' else 'that variable'} is empty"
        )
    return key


def settings_of(given: list[str]) -> dict[str, Any]:
    """Return NAME=VALUE pairs as settings; a value that is JSON counts as such, others as text."""
    settings: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Misconfigured(f"--set {text!r}: expected NAME=VALUE, as region=eu-west-1")
        try:
            settings[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            settings[name] = value
    return settings


async def add_provider(
    settings: Settings, name: str, slug: str, provider: ProviderSettings, *, replace: bool
) -> UUID:
    """Add the integration, its key encrypted. Raises: Misconfigured, also without ROLLCALL_KEYS."""
    await create_provider(provider).aclose()
    keyring, kind = Keyring.from_setting(settings.keys), provider.integration_type
    async with session(settings.database_url) as connection, connection.transaction():
        organization_id = await admin.organization(connection, slug)
        identifier = await admin.integration_id(connection, organization_id, name, kind)
        await admin.save_integration(
            connection,
            identifier,
            organization_id,
            name,
            dict(provider.settings),
            replace=replace,
            kind=kind,
        )
        stored = sealed(provider.api_key or "", identifier, keyring)
        await admin.save_provider(connection, identifier, provider.project_id, provider.base_url, stored)
    return identifier
