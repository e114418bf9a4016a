"""JSON over HTTP where everything ends: waits, bodies, retries.

No text of an error holds a header or a query, nor anything of `secrets` where a provider echoes it.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from ssl import SSLContext
from typing import Any, NamedTuple

import httpx
import orjson

from handlers.text import truncate
from ingest.egress.gate import Egress
from ingest.egress.https import EgressTransport
from ingest.errors import Declined, NotFound, ProviderAway, ProviderRefused, ProviderThrottled
from ingest.providers.checks import checked_url
from ingest.providers.retry import Limits, retrying

log = logging.getLogger(__name__)

MAX_BODY = 16 << 20
MAX_ERROR_BODY = 64 << 10
MAX_TOLD = 200
"""Characters of a provider's own error text that we repeat."""
IDEMPOTENT = frozenset(("GET", "PUT", "DELETE"))


@cache
def authorities() -> SSLContext:
    """Return the certificate authorities, read once a process: each time would hold up the event loop for 50 ms."""
    return httpx.create_ssl_context()


class Answer(NamedTuple):
    """A 2xx answer: its JSON and its headers."""

    body: Any
    headers: Mapping[str, str]


class JsonApi:
    """One provider's HTTP API. `headers` is asked for each attempt, so that what expires is renewed.

    `repeats` False: a tenant named the host, and what it answers to a refused request reaches the log alone.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Callable[[], Mapping[str, str]],
        secrets: Callable[[], Sequence[str]],
        limits: Limits | None = None,
        *,
        egress: Egress | None = None,
        repeats: bool = True,
    ) -> None:
        self._repeats = repeats
        self._name = name
        self._headers = headers
        self._secrets = secrets
        self._limits = limits or Limits()
        self._client = httpx.AsyncClient(
            base_url=checked_url(base_url),
            transport=EgressTransport(egress or Egress(), authorities()),
            timeout=httpx.Timeout(self._limits.read_s, connect=self._limits.connect_s),
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "rollcall"},
            follow_redirects=False,
            trust_env=False,
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
    ) -> Answer:
        """Make one request, again while that can help. `idempotent` follows from the method unless given.

        Raises: ProviderAway, ProviderThrottled, ProviderRefused, NotFound, Declined.
        """
        repeatable = method in IDEMPOTENT if idempotent is None else idempotent
        content = None if body is None else orjson.dumps(body)
        return await retrying(
            lambda: self._once(method, path, query, content, headers or {}), self._limits, repeatable
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        content: bytes | None,
        extra: Mapping[str, str],
    ) -> Answer:
        where = f"{self._name}: {method} {truncate(path, 120)}"
        headers = {**self._headers(), **extra}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            async with (
                asyncio.timeout(self._limits.request_s),
                self._client.stream(method, path, params=query, content=content, headers=headers) as response,
            ):
                if response.is_success:
                    raw = await read_body(response, MAX_BODY, where)
                    return Answer(_json(raw, where), response.headers)
                told = self._told(await read_body(response, MAX_ERROR_BODY, where))
        except (TimeoutError, httpx.TimeoutException):
            raise ProviderAway(f"{where}: no whole answer in time") from None
        except httpx.HTTPError as error:
            raise ProviderAway(f"{where}: {_reason(error)}") from None
        if not self._repeats:
            log.info("%s: %d: %s", where, response.status_code, told)
        raise _refusal(response, where, told if self._repeats else "")

    def _told(self, raw: bytes) -> str:
        """Return the provider's own words, without our secrets."""
        text = raw.decode("utf-8", "replace")
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return truncate(" ".join(text.split()), MAX_TOLD)


async def read_body(response: httpx.Response, limit: int, where: str) -> bytes:
    """Return the body: of a refusal at most `limit` bytes, of an answer all. Raises: ProviderAway beyond `limit`."""
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > limit:
            if response.is_success:
                raise ProviderAway(f"{where}: the answer exceeds {limit} bytes")
            break
    return bytes(raw)


def _json(raw: bytes, where: str) -> Any:
    """Parse a body; the standard library reads what orjson refuses (lone surrogates), for the columns to judge."""
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ProviderAway(f"{where}: the answer is cut off or not JSON") from None


def _refusal(response: httpx.Response, where: str, told: str) -> Exception:
    """Return the exception that an answer other than 2xx means."""
    status = response.status_code
    text = f"{where}: {status}" + (f": {told}" if told else "")
    if status in (401, 403):
        return ProviderRefused(f"{text}: check the integration's key and its rights")
    if status in (404, 410):
        return NotFound(text)
    later = retry_after_s(response.headers.get("retry-after"))
    if status == 429:
        return ProviderThrottled(text, later or 0.0)
    if status in (408, 425) or status >= 500:
        return ProviderAway(text, later)
    if status < 400:
        return Declined(f"{where}: {status}, a redirect, which is not followed: check base_url")
    return Declined(text, str(status))


def retry_after_s(value: str | None) -> float | None:
    """Return seconds from a number of seconds or an HTTP date; None for anything else. Source: RFC 9110, 10.2.3."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reason(error: httpx.HTTPError) -> str:
    """Say what happened in words of our own: the library's may repeat a header."""
    if isinstance(error, httpx.ConnectError):
        return "cannot be reached"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "the connection ended before the whole answer"
    return f"the request failed ({type(error).__name__})"
