"""Options of `rollcall integration add` for webhooks: their settings, and a secret that is printed once."""

import base64
import os
import secrets
import sys
from typing import Literal
from uuid import UUID

from ingest.cli.output import Row
from ingest.crypto import HOW_TO_MAKE_ONE, Keyring
from ingest.errors import Misconfigured
from ingest.integrations.secrets import encrypt_settings, in_the_clear
from ingest.webhooks.auth import LONG_ENOUGH, Authenticator, is_short
from ingest.webhooks.sns import Signatures

Kind = Literal["mqtt", "golioth", "aws_iot", "azure_iot"]
WITHOUT_SECRET = ("sns", "none")


def webhook_of(auth: str | None, secret: str | None, topic_arns: list[str], *, needed: bool) -> Row | None:
    """Return `webhook` of the settings, its secret in the clear; None where no webhooks are taken.

    `needed`: there is no other way to hear of its devices.

    Raises: Misconfigured.
    """
    if auth is None:
        if needed:
            raise Misconfigured(
                "--key-env names the variable that holds the provider's key, --webhook-auth says how webhooks"
                " prove themselves: give one of them, or both"
            )
        if secret is not None or topic_arns:
            raise Misconfigured("--webhook-auth says how webhooks prove themselves, and is needed for them")
        return None
    if secret not in (None, "-"):
        raise Misconfigured("--webhook-secret: only -, which reads it from stdin: others see a command line")
    webhook: Row = {"auth": auth}
    if topic_arns:
        webhook["topic_arns"] = topic_arns
    if auth not in WITHOUT_SECRET:
        webhook["secret"] = sys.stdin.readline().strip() if secret else made(auth)
        if is_short(webhook["secret"]):
            raise Misconfigured(f"--webhook-secret: the secret is too short: {LONG_ENOUGH}")
    try:
        Authenticator.parse({"webhook": webhook}, None, Signatures())
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    return webhook


def made(auth: str) -> str:
    """Return a new secret of the form that the method needs."""
    if auth == "standard_webhooks":
        return f"whsec_{base64.b64encode(os.urandom(24)).decode()}"
    return secrets.token_urlsafe(32)


def encrypted(values: Row, keyring: Keyring, identifier: UUID, *, plain: bool) -> Row:
    """Return the settings as they are stored; without a key secrets stay in the clear where `plain` allows it.

    Raises: Misconfigured.
    """
    if keyring.can_encrypt:
        return encrypt_settings(values, identifier, keyring)
    if not plain and (places := in_the_clear(values)):
        raise Misconfigured(
            f"{', '.join(places)} would be stored in the clear, for ROLLCALL_KEYS is not set: set it to"
            f" {HOW_TO_MAKE_ONE}, or pass --plain-secrets"
        )
    return dict(values)
