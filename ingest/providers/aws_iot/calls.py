"""Calls of AWS' control plane: one client, bounds, and what its errors mean here."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError  # type: ignore[import-untyped]

from handlers.text import truncate
from ingest.egress.gate import Egress
from ingest.errors import Declined, NotFound, ProviderAway, ProviderRefused, ProviderThrottled
from ingest.providers.aws_iot.session import Sender, session
from ingest.providers.http import MAX_TOLD, retry_after_s
from ingest.providers.retry import Limits, retrying

REFUSED = frozenset((
    "AccessDeniedException", "ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException",
    "MissingAuthenticationTokenException", "SignatureDoesNotMatch", "UnauthorizedException",
    "UnrecognizedClientException",
))  # fmt: skip
THROTTLED = frozenset(("Throttling", "ThrottlingException", "TooManyRequestsException"))
BUILDING = "IndexNotReadyException"


log = logging.getLogger(__name__)


class Calls:
    """A client of the service `iot`, opened at the first call.

    `repeats` False: a tenant named the host, and what it answers to a refused call reaches the log alone.
    """

    def __init__(
        self,
        region: str,
        endpoint_url: str | None,
        key: tuple[str, str, str | None],
        limits: Limits,
        egress: Egress | None = None,
        *,
        repeats: bool = True,
    ) -> None:
        self._egress = egress or Egress()
        self._repeats = repeats
        self._region = region
        self._endpoint_url = endpoint_url
        self._key = key
        self._limits = limits
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def call(self, operation: str, expects: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Make one call, again while that can help; all calls that are made here are idempotent.

        `expects` is a member of every whole answer: botocore reads a body that is cut off as one without members.
        Raises: ProviderAway, ProviderThrottled, ProviderRefused, NotFound, Declined.
        """
        return await retrying(
            lambda: self._once(operation, expects, parameters), self._limits, idempotent=True
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._stack.aclose()
        self._client = None

    async def _once(self, operation: str, expects: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
        where = f"AWS IoT: {operation}"
        try:
            client = await self._opened()
            async with asyncio.timeout(self._limits.request_s):
                answer: dict[str, Any] = await getattr(client, operation)(**parameters)
            if expects is None or expects in answer:
                return answer
            refusal: Exception = ProviderAway(f"{where}: the answer is cut off or not JSON")
        except ClientError as error:
            refusal = _refusal(error, where, self._key[1:], repeats=self._repeats)
        except ParamValidationError as error:
            refusal = Declined(f"{where}: {truncate(' '.join(str(error).split()), MAX_TOLD)}")
        except (TimeoutError, httpx.TimeoutException):
            refusal = ProviderAway(f"{where}: no whole answer in time")
        except (BotoCoreError, httpx.HTTPError, OSError) as error:
            refusal = ProviderAway(f"{where}: no whole answer ({type(error).__name__})")
        raise refusal from None

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                access_key_id, secret_access_key, session_token = self._key
                self._client = await self._stack.enter_async_context(
                    session().create_client(
                        "iot",
                        region_name=self._region,
                        endpoint_url=self._endpoint_url,
                        aws_access_key_id=access_key_id,
                        aws_secret_access_key=secret_access_key,
                        aws_session_token=session_token,
                        config=AioConfig(
                            connect_timeout=self._limits.connect_s,
                            read_timeout=self._limits.read_s,
                            retries={"total_max_attempts": 1},
                            max_pool_connections=8,
                            user_agent_extra="rollcall",
                            http_session_cls=partial(Sender, self._egress),
                            ignore_configured_endpoint_urls=True,
                            use_fips_endpoint=False,
                            use_dualstack_endpoint=False,
                            defaults_mode="legacy",
                        ),
                    )
                )
        return self._client


def _refusal(error: ClientError, where: str, secrets: tuple[str | None, ...], *, repeats: bool) -> Exception:
    """Return the exception that AWS' error means."""
    told: dict[str, Any] = dict(error.response.get("Error") or {})
    metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata") or {})
    status, code = int(metadata.get("HTTPStatusCode") or 0), str(told.get("Code") or "")
    message = " ".join(str(told.get("Message") or "").split())
    for secret in secrets:
        message = message.replace(secret, "***") if secret else message
    text = f"{where}: {truncate(f'{status} {code} {message}'.strip(), MAX_TOLD)}"
    if not repeats:
        log.info("%s", text)
        text = f"{where}: {status}"
    if 300 <= status < 400:
        return Declined(f"{where}: {status}, a redirect, which is not followed: check base_url")
    later = retry_after_s((metadata.get("HTTPHeaders") or {}).get("retry-after"))
    if code in THROTTLED or status == 429:
        return ProviderThrottled(text, later or 0.0)
    if code == BUILDING or status >= 500:
        return ProviderAway(text, later)
    if code in REFUSED or status in (401, 403):
        return ProviderRefused(f"{text}: check the integration's key and its rights")
    return NotFound(text, code) if status == 404 else Declined(text, code)
