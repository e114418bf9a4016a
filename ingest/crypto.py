"""Secrets at rest: AES-256-GCM under a named key, bound to the place where they are stored.

The library is imported where a key is there to be used: it takes several MiB.
"""

import base64
import binascii
import os
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from ingest.errors import Misconfigured, SecretUnreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = "rc1:"
KEY_BYTES = 32
NONCE_BYTES = 12
HOW_TO_MAKE_ONE = "k1:$(openssl rand -base64 32)"


def is_encrypted(text: str) -> bool:
    """Return whether `text` is what `Keyring.encrypt` returns, rather than a secret in the clear."""
    return text.startswith(MARK) and text.count(":") == 2


class Keyring:
    """Keys by id. The first encrypts; all decrypt, so that keys can be rotated."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._ciphers = {kid: _cipher(key) for kid, key in keys.items()}
        self._current = next(iter(keys), None)

    @classmethod
    def from_setting(cls, setting: SecretStr | None) -> Self:
        """Read `kid:base64-of-32-bytes,...`; None makes a keyring that can do nothing.

        Raises: Misconfigured, naming the key's id or place, never the key.
        """
        keys: dict[str, bytes] = {}
        parts = setting.get_secret_value().split(",") if setting else []
        for place, part in enumerate((part.strip() for part in parts if part.strip()), start=1):
            kid, key = _parsed(part, place)
            if kid in keys:
                raise Misconfigured(f"ROLLCALL_KEYS: the key id {kid!r} comes twice")
            keys[kid] = key
        return cls(keys)

    @property
    def can_encrypt(self) -> bool:
        """Whether there is a key at all."""
        return self._current is not None

    def is_current(self, stored: str) -> bool:
        """Return whether `stored` is encrypted under the key that encrypts now."""
        return self._current is not None and is_encrypted(stored) and stored.split(":")[1] == self._current

    def encrypt(self, clear: str, context: str) -> str:
        """Return `rc1:<kid>:<base64 of nonce and ciphertext>`.

        `context` names the place (an integration's id and the setting's name): a value copied elsewhere is unreadable.
        Raises: Misconfigured when there is no key.
        """
        if self._current is None:
            raise Misconfigured(f"ROLLCALL_KEYS is not set: set it to {HOW_TO_MAKE_ONE} to store secrets")
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, clear.encode(), context.encode())
        return f"{MARK}{self._current}:{base64.b64encode(nonce + sealed).decode()}"

    def decrypt(self, stored: str, context: str) -> str:
        """Return the secret in the clear.

        Raises: SecretUnreadable when the key is missing, or the text was changed or belongs to another place.
        """
        if not is_encrypted(stored):
            raise SecretUnreadable(f"the secret of {context} is not encrypted by Rollcall")
        kid, _, sealed = stored.removeprefix(MARK).partition(":")
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise SecretUnreadable(f"the secret of {context} needs the key {kid!r}: add it to ROLLCALL_KEYS")
        from cryptography.exceptions import InvalidTag

        try:
            raw = base64.b64decode(sealed, validate=True)
            return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, ValueError):
            raise SecretUnreadable(
                f"the secret of {context} does not open with the key {kid!r}: the key or the stored text was changed"
            ) from None


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _parsed(part: str, place: int) -> tuple[str, bytes]:
    kid, colon, encoded = part.partition(":")
    if not colon or not kid:
        raise Misconfigured(f"ROLLCALL_KEYS: key number {place} has no id: expected {HOW_TO_MAKE_ONE}")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Misconfigured(
            f"ROLLCALL_KEYS: the key {kid!r} is not base64: expected {HOW_TO_MAKE_ONE}"
        ) from None
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"ROLLCALL_KEYS: the key {kid!r} has {len(key)} bytes: expected {KEY_BYTES}")
    return kid, key


def password_context(integration_id: object) -> str:
    """Return the context under which an integration's broker password is encrypted."""
    return secret_context(integration_id, "password")


def secret_context(integration_id: object, place: str) -> str:
    """Return the context of another secret of an integration: the setting's path, or the column."""
    return f"device_integrations/{integration_id}/{place}"
