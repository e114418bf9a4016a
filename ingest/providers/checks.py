"""Checks of what goes to a provider: base URL, key, ids in a path; and that an answer is a JSON object."""

from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from handlers.text import truncate
from ingest.egress.networks import is_this_machine
from ingest.errors import Misconfigured, NotFound, ProviderAway


def checked_url(url: str) -> str:
    """Return a base URL to which a key may be sent.

    Raises: Misconfigured: not https (http goes to this machine only), or with a user, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        plain = parts.scheme == "http" and is_this_machine(host)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise Misconfigured("base_url is not a URL: enter one such as https://api.example.com") from None
    if not host or port == 0 or (parts.scheme != "https" and not plain):
        raise Misconfigured(
            "base_url must begin with https:// and name a host: a key is never sent in the clear"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Misconfigured(
            "base_url must not hold a user, a password, a query or a fragment: a key has its own field"
        )
    return url.rstrip("/")


def checked_key(key: str | None, what: str) -> str:
    """Return a key that can stand in a header. Raises: Misconfigured, without the key."""
    key = (key or "").strip()
    if not key:
        raise Misconfigured(f"{what} is missing: enter it as the integration's key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Misconfigured(f"{what} holds a space or a character that no key has: enter it again")
    return key


def segment(text: str) -> str:
    """Return an id as one segment of a path. Raises: NotFound for what cannot be one."""
    if text in ("", ".", "..") or len(text) > 255:
        raise NotFound(f'no provider has an id like "{truncate(text)}"')
    return quote(text.encode("utf-8", "backslashreplace"), safe="")


def object_of(value: object, where: str) -> dict[str, Any]:
    """Return a JSON object. Raises: ProviderAway where the answer to `where` is something else."""
    if not isinstance(value, dict):
        raise ProviderAway(f"{where}: the answer is not the JSON object that was expected")
    return value
