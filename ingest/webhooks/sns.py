"""Amazon SNS: signatures of its messages, and the confirmation of subscriptions and of a rule's HTTP destination.

Source: Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages"; AWS IoT Core developer guide,
"HTTP action destinations".
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from handlers.events import Micros
from ingest.egress.gate import Egress
from ingest.errors import AddressRefused, Unauthorized, Unavailable

if TYPE_CHECKING:
    import httpx

    from ingest.webhooks.certificates import Certificate

_REGION = r"\.[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.(?:com(?:\.cn)?|eu)"
CERTIFICATE_URL = re.compile(rf"https://sns{_REGION}/[A-Za-z0-9_-]{{1,128}}\.pem")
SUBSCRIBE_URL = re.compile(rf"https://sns{_REGION}/\?[A-Za-z0-9%&=:._~-]{{1,2048}}")
ENABLE_URL = re.compile(rf"https://iot{_REGION}/confirmdestination/[A-Za-z0-9%=_-]{{1,4096}}")

DEADLINE_S = 10.0
"""For one request to Amazon, waiting for a free slot included."""
MAX_AT_ONCE = 4
MAX_ANSWER_BYTES = 16_384
MAX_CERTIFICATES = 16

_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""The keys that are signed, in their order; a Subject only where there is one."""
VERSIONS = ("1", "2")
"""Of signatures."""


class Signatures:
    """Verifies messages against certificates that Amazon serves, and keeps those.

    `transport` is another way to Amazon's hosts; without it `egress` decides where they may be. The client is made, and
    the libraries are imported, at the first request: together that is a fifth of a start, and several MiB.
    """

    def __init__(
        self, transport: "httpx.AsyncBaseTransport | None" = None, egress: Egress | None = None
    ) -> None:
        self._transport = transport
        self._egress = egress
        self._client: httpx.AsyncClient | None = None
        self._certificates: dict[str, Certificate] = {}
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)

    async def check(
        self, headers: Mapping[str, str], body: bytes, topic_arns: frozenset[str], now: Micros
    ) -> None:
        """Return if the body is a message of one of the topics, signed by Amazon.

        Raises:
            Unauthorized: what is missing or wrong.
            Unavailable: the certificate cannot be had now.
        """
        if headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
            raise Unauthorized(
                "a message that SNS delivers raw has no signature: turn raw message delivery off"
            )
        if not any(arn.encode() in body for arn in topic_arns):
            raise Unauthorized("the topic is not among webhook.topic_arns")  # and nothing is decoded for it
        message = _message(body)
        topic_arn = message.get("TopicArn")
        if not isinstance(topic_arn, str) or topic_arn not in topic_arns:
            raise Unauthorized("the topic is not among webhook.topic_arns")
        version, url = message.get("SignatureVersion"), message.get("SigningCertURL")
        text = canonical(message)
        try:
            signature = base64.b64decode(message.get("Signature", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Unauthorized("the Signature is not base64") from None
        if not isinstance(version, str) or version not in VERSIONS:
            raise Unauthorized("the SignatureVersion is neither 1 nor 2")
        if not isinstance(url, str) or not CERTIFICATE_URL.fullmatch(url):
            raise Unauthorized(
                "the SigningCertURL is not a certificate of sns.<region>.amazonaws.com over https"
            )
        (await self._certificate(url)).verify(signature, text, version, now)

    async def confirm(self, url: str, topic_arn: str) -> None:
        """Visit the SubscribeURL of a message that `check` passed.

        Raises:
            Unauthorized: the URL is not Amazon's confirmation of that topic.
            Unavailable: it cannot be visited now.
        """
        if not SUBSCRIBE_URL.fullmatch(url):
            raise Unauthorized("the SubscribeURL is not one of sns.<region>.amazonaws.com over https")
        query = parse_qs(urlsplit(url).query)
        if query.get("Action") != ["ConfirmSubscription"] or query.get("TopicArn") != [topic_arn]:
            raise Unauthorized("the SubscribeURL does not confirm a subscription to its own topic")
        await self._get(url, "the SubscribeURL")

    async def enable(self, url: str) -> None:
        """Visit the enableUrl with which AWS IoT asks, without any secret, to confirm the destination of a rule.

        It only allows AWS to send: what it sends must prove itself. Raises: Unauthorized, Unavailable.
        """
        if not ENABLE_URL.fullmatch(url):
            raise Unauthorized("the enableUrl is not one of iot.<region>.amazonaws.com over https")
        await self._get(url, "the enableUrl")

    async def _certificate(self, url: str) -> "Certificate":
        known = self._certificates.get(url)
        if known is not None:
            return known
        from ingest.webhooks.certificates import Certificate

        certificate = Certificate.read(await self._get(url, "the signing certificate"))
        while len(self._certificates) >= MAX_CERTIFICATES:
            del self._certificates[next(iter(self._certificates))]
        self._certificates[url] = certificate
        return certificate

    async def _get(self, url: str, what: str) -> bytes:
        """Return a small answer of a pinned host; redirects are not followed."""
        import httpx

        client = self._client = self._client or self._opened()
        body = b""
        plain = {"accept-encoding": "identity"}
        try:
            async with asyncio.timeout(DEADLINE_S), self._slots:
                request = client.stream("GET", url, headers=plain, follow_redirects=False)
                async with request as response:
                    _check_answer(response.status_code, what)
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > MAX_ANSWER_BYTES:
                            raise Unauthorized(f"{what} is larger than {MAX_ANSWER_BYTES} bytes")
        except (httpx.HTTPError, TimeoutError, AddressRefused) as error:
            raise Unavailable(f"{what} cannot be had from Amazon: {type(error).__name__}") from None
        return body

    def _opened(self) -> "httpx.AsyncClient":
        import httpx

        from ingest.egress.https import EgressTransport
        from ingest.providers.http import authorities

        transport = self._transport or EgressTransport(self._egress or Egress(), authorities())
        return httpx.AsyncClient(transport=transport, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections to Amazon."""
        if self._client is not None:
            await self._client.aclose()


def canonical(message: Mapping[str, Any]) -> bytes:
    """Return the text that is signed: each key and its value on a line of its own.

    Raises:
        Unauthorized: a signed key is missing.
    """
    kind = message.get("Type")
    if not isinstance(kind, str) or kind not in SIGNED:
        raise Unauthorized(f"the Type is not one of {', '.join(SIGNED)}")
    lines: list[str] = []
    for key in SIGNED[kind]:
        value = message.get(key)
        if value is None and key == "Subject":
            continue
        if not isinstance(value, str):
            raise Unauthorized(f"the message has no {key} as text")
        lines += (key, value)
    return ("\n".join(lines) + "\n").encode()


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise Unauthorized("the body is not a message of SNS")
    return message


def _check_answer(status: int, what: str) -> None:
    if status == 429 or status >= 500:
        raise Unavailable(f"{what} cannot be had from Amazon: status {status}")
    if status != 200:
        raise Unauthorized(f"{what} is not there: status {status}")
