"""HTTP through the gate: every request goes to an address that was checked, and TLS still verifies the name.

No proxy of the environment has a say: it would connect where we may not.
"""

import asyncio
import ssl

import httpx

from ingest.egress.gate import Egress, Place

FRESH_S = 30.0
"""How long the addresses of a host count as known: they were checked, and are connected to as such."""


class EgressTransport(httpx.AsyncBaseTransport):
    """What a client of httpx sends by. Raises AddressRefused beside httpx' own errors."""

    def __init__(self, egress: Egress, verify: ssl.SSLContext) -> None:
        self._egress = egress
        self._inner = httpx.AsyncHTTPTransport(verify=verify)
        self._known: tuple[str, int, list[Place], float] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the first of the host's addresses that can be connected to."""
        failure: httpx.TransportError = httpx.ConnectError("it has no address")
        for place in await self._places(request.url):
            try:
                return await self._inner.handle_async_request(_to(place, request))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _places(self, url: httpx.URL) -> list[Place]:
        host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
        now, known = asyncio.get_running_loop().time(), self._known
        if known is not None and known[:2] == (host, port) and now < known[3]:
            return known[2]
        try:
            places = await self._egress.places(host, port)
        except OSError:
            raise httpx.ConnectError("the name is not known, or not in time") from None
        self._known = host, port, places, now + FRESH_S
        return places

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


def _to(place: Place, request: httpx.Request) -> httpx.Request:
    """Return the request to an address; its Host, and the name that TLS verifies, stay those of its URL."""
    named = {**request.extensions, "sni_hostname": request.url.host}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=place.address),
        headers=request.headers,
        stream=request.stream,
        extensions=named,
    )
