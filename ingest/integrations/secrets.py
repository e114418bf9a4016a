"""The secrets of a device_integrations row: the places where they stand, and their encryption and decryption there."""

from collections.abc import Iterable, Mapping
from typing import Any

from ingest.crypto import Keyring, is_encrypted, secret_context
from ingest.store.config.integrations import WEBHOOK_SECRET, IntegrationRow

BROKER = ("password", "tls.ca", "tls.cert", "tls.key", "nats.creds", "nats.nkey")
"""What a connection to a broker needs."""
WEBHOOK = ("webhook.secret", "webhook.previous_secret")
PLACES = (*BROKER, *WEBHOOK)
"""Each is a path of the settings; encryption is bound to it."""
NOT_SECRET = frozenset(("tls.ca",))
"""Encrypted where there is a key, and otherwise kept in the clear."""


def found(settings: Any, places: Iterable[str] = PLACES) -> dict[str, str]:
    """Return the texts that stand in these places, as they are stored."""
    texts: dict[str, str] = {}
    for place in places:
        value: Any = settings
        for name in place.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            texts[place] = value
    return texts


def encrypt_settings(settings: Mapping[str, Any], integration_id: object, keyring: Keyring) -> dict[str, Any]:
    """Return the settings with every secret encrypted. Raises: Misconfigured where there is a secret and no key."""
    changed = dict(settings)
    for place, text in found(settings).items():
        if is_encrypted(text) or (place in NOT_SECRET and not keyring.can_encrypt):
            continue
        changed = _with(changed, place, keyring.encrypt(text, secret_context(integration_id, place)))
    return changed


def in_the_clear(settings: Mapping[str, Any]) -> list[str]:
    """Return the places of the secrets that are not encrypted."""
    return [
        place for place, text in found(settings).items() if place not in NOT_SECRET and not is_encrypted(text)
    ]


def decrypt_settings(
    settings: Mapping[str, Any], integration_id: object, keyring: Keyring, places: Iterable[str] = PLACES
) -> dict[str, Any]:
    """Return the settings with every secret in the clear. Raises: SecretUnreadable."""
    changed = dict(settings)
    for place, text in found(settings, places).items():
        changed = _with(changed, place, decrypt_stored(text, integration_id, place, keyring))
    return changed


def decrypt_stored(stored: str, integration_id: object, place: str, keyring: Keyring) -> str:
    """Return a secret in the clear, however it is stored in this place. Raises: SecretUnreadable."""
    return keyring.decrypt(stored, secret_context(integration_id, place)) if is_encrypted(stored) else stored


def of_row(row: IntegrationRow) -> dict[str, str]:
    """Return the secrets that the parts of the service use of a row, by their places, as they are stored."""
    broker = found(row.settings, BROKER) if row.integration_type == "mqtt" else {}
    return broker | (of_webhooks(row) if row.webhook_enabled else {})


def of_webhooks(row: IntegrationRow) -> dict[str, str]:
    """Return the secrets of a row's webhooks by their places, as they are stored."""
    column = {WEBHOOK_SECRET: row.webhook_secret} if isinstance(row.webhook_secret, str) else {}
    return found(row.settings, WEBHOOK) | column


def _with(settings: dict[str, Any], place: str, text: str) -> dict[str, Any]:
    name, _, rest = place.partition(".")
    return {**settings, name: _with(settings[name], rest, text) if rest else text}
