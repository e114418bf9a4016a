"""The address of a row of device_integrations as text: what the operator's mark on a row is compared with."""

from collections.abc import Mapping
from typing import Any

import orjson


def address_of(
    kind: str, base_url: str | None, settings: Mapping[str, Any], key_host: str | None = None
) -> str:
    """Return everything of a row that decides where Rollcall connects to; `key_host` is the host in a provider's key.

    A mark holds as long as this is what it was when the operator wrote the row, whoever changes the row.
    """
    nats = settings.get("nats")
    named = {
        "type": kind,
        "base_url": base_url,
        "host": settings.get("host"),
        "port": settings.get("port"),
        "jetstream": settings.get("protocol") == "jetstream",
        "servers": nats.get("servers") if isinstance(nats, Mapping) else None,
        "region": settings.get("region"),
        "key_host": key_host,
    }
    return orjson.dumps({name: value for name, value in named.items() if value}, default=str).decode()
