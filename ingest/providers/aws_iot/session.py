"""The botocore session: it sends through our client, and knows nothing of this machine.

Neither a profile nor a file nor a variable of the machine's (AWS_ENDPOINT_URL, AWS_PROFILE, AWS_CONFIG_FILE, ...) has a
say: keys and addresses come from the integration's row alone. Redirects are not followed: the signature would go along.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiobotocore.awsrequest import AioAWSResponse  # type: ignore[import-untyped]
from aiobotocore.session import AioSession, get_session  # type: ignore[import-untyped]
from botocore.compat import HTTPHeaders  # type: ignore[import-untyped]
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES  # type: ignore[import-untyped]

from ingest.egress.gate import Egress
from ingest.egress.https import EgressTransport
from ingest.providers.http import MAX_BODY, authorities, read_body

_FILES = ("config_file", "credentials_file")


@cache
def session() -> AioSession:
    """Return botocore's, which keeps the description of the service: reading it holds up the event loop for 0.1 s."""
    variables = {
        name: (None, None, os.devnull if name in _FILES else default, conversion)
        for name, (_, _, default, conversion) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    return get_session(env_vars=variables)


class Sender:
    """Sends botocore's requests through the gate. Raises: AddressRefused, httpx.HTTPError."""

    def __init__(self, egress: Egress, timeout: tuple[float, float] = (5.0, 15.0), **_: Any) -> None:
        connect_s, read_s = timeout
        self._client = httpx.AsyncClient(
            transport=EgressTransport(egress, authorities()),
            timeout=httpx.Timeout(read_s, connect=connect_s),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> "Sender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def send(self, request: Any) -> AioAWSResponse:
        """Send one request, byte for byte as it was signed, and return the whole answer."""
        parts = urlsplit(request.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {**_texts(request.headers), "accept-encoding": "identity"}
        built = self._client.build_request(
            request.method,
            request.url,
            headers=headers,
            content=request.body or None,
            extensions={"target": target.encode()},
        )
        response = await self._client.send(built, stream=True)
        try:
            body = await read_body(response, MAX_BODY, "AWS IoT")
        finally:
            await response.aclose()
        named = HTTPHeaders.from_pairs(response.headers.items())
        answer = AioAWSResponse(request.url, response.status_code, named, response)
        answer._content = body
        return answer


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()
    }
