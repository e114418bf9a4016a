"""A client of HTTP; one that httpx makes by itself reads the certificate authorities anew."""

from typing import Any

import httpx

from ingest.providers.http import authorities


def http_client(**options: Any) -> httpx.AsyncClient:
    """Return what `httpx.AsyncClient` returns."""
    return httpx.AsyncClient(verify=authorities(), **options)
