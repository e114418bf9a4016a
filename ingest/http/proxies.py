"""The address of a sender behind proxies of our own, which name it in X-Forwarded-For."""

from collections.abc import Sequence
from ipaddress import ip_address

from starlette.types import Scope

from ingest.egress.networks import Network

FORWARDED = b"x-forwarded-for"


def behind_proxies(scope: Scope, trusted: Sequence[Network]) -> Scope:
    """Return the scope with the sender as its client where a trusted proxy connected; else the scope itself.

    The header is read from its end: the first address that is no trusted proxy's is the sender's, since whatever
    stands before it was written by the sender.
    """
    client = scope.get("client")
    if not trusted or not client or not _is_trusted(client[0], trusted):
        return scope
    listed = b",".join(value for name, value in scope["headers"] if name.lower() == FORWARDED)
    sender = client[0]
    for one in reversed(listed.decode("latin-1").split(",")):
        address = _plain(one.strip())
        if address is None:
            break
        sender = address
        if not _is_trusted(address, trusted):
            break
    return scope if sender == client[0] else {**scope, "client": (sender, 0)}


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in trusted)


def _plain(text: str) -> str | None:
    """Return an address without its port and brackets; None where it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
