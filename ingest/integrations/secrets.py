"""The secrets in the `settings` of a device_integrations row: where they stand, sealed and opened in their places."""

from collections.abc import Iterable, Mapping
from typing import Any

from ingest.crypto import Keyring, is_encrypted, secret_context

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


def sealed(settings: Mapping[str, Any], integration_id: object, keyring: Keyring) -> dict[str, Any]:
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


def opened(
    settings: Mapping[str, Any], integration_id: object, keyring: Keyring, places: Iterable[str] = PLACES
) -> dict[str, Any]:
    """Return the settings with every secret in the clear. Raises: SecretUnreadable."""
    changed = dict(settings)
    for place, text in found(settings, places).items():
        if is_encrypted(text):
            changed = _with(changed, place, keyring.decrypt(text, secret_context(integration_id, place)))
    return changed


def _with(settings: dict[str, Any], place: str, text: str) -> dict[str, Any]:
    name, _, rest = place.partition(".")
    return {**settings, name: _with(settings[name], rest, text) if rest else text}
