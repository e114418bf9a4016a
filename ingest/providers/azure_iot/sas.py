"""Shared access signatures of an IoT Hub policy.

Source: Control access to IoT Hub with shared access signatures: HMAC-SHA256 over the resource and the expiry.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote

from ingest.errors import Misconfigured

LIFETIME_S = 3600
RENEW_BEFORE_S = 600
FORM = "HostName=...;SharedAccessKeyName=...;SharedAccessKey=..."


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """A policy's connection string. Its key is in no repr."""

    host: str
    policy: str
    key: bytes = field(repr=False)
    text_key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HostName=...;SharedAccessKeyName=...;SharedAccessKey=...`. Raises: Misconfigured, without the text."""
        parts = dict(part.partition("=")[::2] for part in text.strip().rstrip(";").split(";"))
        missing = [
            name for name in ("HostName", "SharedAccessKeyName", "SharedAccessKey") if not parts.get(name)
        ]
        if missing:
            raise Misconfigured(
                f"azure_iot: the key has no {', '.join(missing)}: enter a policy's connection string, {FORM}"
            )
        encoded = parts["SharedAccessKey"]
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise Misconfigured(
                "azure_iot: SharedAccessKey is not base64: copy the connection string again"
            ) from None
        return cls(parts["HostName"].lower(), parts["SharedAccessKeyName"], key, encoded)


class Signer:
    """Makes the Authorization header, and a new one in time before it expires."""

    def __init__(self, connection: ConnectionString, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self._token = ""
        self._expires_at = 0

    def headers(self) -> dict[str, str]:
        """Return the header for a request that is made now."""
        if self._clock() > self._expires_at - RENEW_BEFORE_S:
            self._expires_at = int(self._clock()) + LIFETIME_S
            self._token = signature(self._connection, self._expires_at)
        return {"authorization": self._token}

    def secrets(self) -> list[str]:
        """Return what must be told to nobody: the key, and the signature of now, which is as good for an hour."""
        signed = self._token.partition("&sig=")[2].partition("&")[0]
        return [text for text in (self._connection.text_key, signed, unquote(signed)) if text]


def signature(connection: ConnectionString, expires_at: int) -> str:
    """Return a signature for the whole hub that is good until `expires_at`, in epoch seconds."""
    resource = quote(connection.host, safe="")
    digest = hmac.digest(connection.key, f"{resource}\n{expires_at}".encode(), "sha256")
    signed = quote(base64.b64encode(digest).decode(), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signed}&se={expires_at}&skn={quote(connection.policy, safe='')}"
