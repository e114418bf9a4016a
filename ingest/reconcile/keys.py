"""API keys of integrations: encrypted at rest; the platform's older form, base64 of the clear text, is read too."""

import base64
import binascii
import logging
from uuid import UUID

from ingest.crypto import Keyring, is_encrypted, secret_context
from ingest.reconcile.rows import Listings
from ingest.store.config.integrations import API_KEY, IntegrationRow

log = logging.getLogger(__name__)


def decrypt_api_key(stored: str, integration_id: UUID, keyring: Keyring) -> str:
    """Return the key in the clear: decrypted, decoded from base64, or what somebody wrote in the clear.

    Raises: SecretUnreadable.
    """
    if is_encrypted(stored):
        return keyring.decrypt(stored, secret_context(integration_id, API_KEY))
    try:
        clear = base64.b64decode(stored.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return stored
    return clear if clear.strip() and clear.strip().isprintable() else stored


def encrypt_api_key(clear: str, integration_id: UUID, keyring: Keyring) -> str:
    """Return the key as it is stored. Raises: Misconfigured without ROLLCALL_KEYS."""
    return keyring.encrypt(clear, secret_context(integration_id, API_KEY))


async def upgrade(row: IntegrationRow, listings: Listings, keyring: Keyring) -> None:
    """Encrypt a key in place that is stored in another form. Raises: DatabaseAway."""
    if row.api_key is None or is_encrypted(row.api_key):
        return
    if not keyring.can_encrypt:
        log.warning("integration %s: its API key is not encrypted: set ROLLCALL_KEYS", row.name)
        return
    await listings.replace_api_key(
        row.id, row.api_key, encrypt_api_key(decrypt_api_key(row.api_key, row.id, keyring), row.id, keyring)
    )
