"""The names of an integration's sessions at its broker: client ids, share groups, marker topics.

Who knows a client id can take its session over, and who knows a share group can join it; either takes messages away.
So both hold an unguessable part, the integration's `secret` (rollcall.mqtt_names), left out where people read a name.
A topic is seen by whoever may subscribe to it, so a marker's topic holds a hash of the secret and not the secret.
"""

from hashlib import blake2b
from uuid import UUID


def client_id(prefix: str, integration_id: UUID, secret: str, last: object) -> str:
    """Return a session's client id; `last` is its slot. Without a secret it is a name of before there were any."""
    return "-".join([prefix, str(integration_id), *([secret] if secret else []), str(last)])


def share_group(integration_id: UUID, secret: str) -> str:
    """Return the group that shares an integration's telemetry."""
    return f"rollcall-{integration_id}" + (f"-{_derived(secret, b'group')}" if secret else "")


def marker_topic(client_id: str, secret: str) -> str:
    """Return the topic on which a session hears how far it has heard; nobody else can tell it from the client id."""
    shown = hidden(client_id, secret)
    return (
        f"rollcall/{shown}/marker"
        if shown == client_id
        else f"rollcall/{shown}/{_derived(secret, b'marker')}/marker"
    )


def hidden(text: str, secret: str) -> str:
    """Return a text without the unguessable parts of the names in it."""
    if not secret:
        return text
    return text.replace(f"-{secret}", "").replace(f"-{_derived(secret, b'group')}", "")


def _derived(secret: str, purpose: bytes) -> str:
    return blake2b(secret.encode(), digest_size=16, person=purpose).hexdigest()
