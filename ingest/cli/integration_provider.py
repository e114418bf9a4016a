"""Options of `rollcall integration add` for a provider: its key from a variable or stdin, its settings."""

import os
import sys
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
from ingest.reconcile.keys import encrypt_api_key
from ingest.store.people import integrations


def key_of(variable: str) -> str:
    """Return the key that the variable holds; for `-` the first line of stdin. Raises: Misconfigured."""
    key = (sys.stdin.readline() if variable == "-" else os.environ.get(variable, "")).strip()
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


async def save_key(
    connection: asyncpg.Connection, identifier: UUID, provider: ProviderSettings, keyring: Keyring
) -> None:
    """Store what only a provider has, its key encrypted. Raises: Misconfigured, also without ROLLCALL_KEYS."""
    await create_provider(provider).aclose()
    stored = encrypt_api_key(provider.api_key or "", identifier, keyring)
    await integrations.save_provider(connection, identifier, provider.project_id, provider.base_url, stored)
    await integrations.mark_address(connection, identifier, provider.address)
