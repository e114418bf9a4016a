"""How a webhook request proves itself: one method an integration, read once from its settings.

Secrets are compared in constant time. No error holds a secret, nor what was given for one.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from standardwebhooks import Webhook

from handlers.events import SECOND, Micros
from ingest.crypto import is_encrypted
from ingest.errors import Unauthorized
from ingest.webhooks.sns import Signatures

METHODS = ("header", "bearer", "standard_webhooks", "hmac", "sns", "none")
HEADER = "x-webhook-secret"
SHA256 = "sha256="
API_KEY = "x-api-key"
"""Always taken beside the method's own header: several clouds can send only this one."""
SIGNATURE = "x-webhook-signature"
SVIX = "svix-"
"""What headers of Standard Webhooks began with before they were called so, and still do at many senders."""
MIN_SECRET = 16
LONG_ENOUGH = f"it must have at least {MIN_SECRET} characters"
TOLERANCE: Micros = 300 * SECOND
"""How far a signed timestamp may be from now."""
MAX_SIGNATURES = 16
SECRET_HEADERS = (
    "authorization", "cookie", "webhook-signature", "svix-signature", HEADER, API_KEY, SIGNATURE,
)  # fmt: skip
MAX_TOPICS = 64

_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_BASE64 = re.compile(r"(whsec_)?[A-Za-z0-9+/]{16,}={0,2}")
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_SIGNATURE = re.compile(r"(?<![^ ,])v1,[A-Za-z0-9+/]{43}=(?![^ ,])")
"""Of HMAC-SHA256, in a list that blanks part, or commas where two lines of a header were joined."""
_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Authenticator:
    """What an integration asks of its requests. Build with `Authenticator.parse`."""

    method: str
    signatures: Signatures | None = field(default=None, repr=False)
    header: str = HEADER
    topic_arns: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(
        cls, settings: Mapping[str, Any], webhook_secret: str | None, signatures: Signatures | None = None
    ) -> Self:
        """Read `webhook` of an integration's settings; secrets must be decrypted.

        `webhook_secret` (the column) is the secret where the settings name none; `signatures` verifies Amazon SNS.

        Raises:
            ValueError: names the setting, and what to write there.
        """
        webhook = settings.get("webhook")
        webhook = {} if webhook is None else webhook
        if not isinstance(webhook, Mapping):
            raise ValueError('webhook: must be an object such as {"auth": "header", "secret": "..."}')
        method = webhook.get("auth")
        if method not in METHODS:
            told = "is not set" if method is None else "is not a method"
            raise ValueError(f"webhook.auth {told}: use one of {', '.join(METHODS)}")
        header = _header(webhook.get("header"))
        if method == "none":
            return cls(method)
        if method == "sns":
            if signatures is None:
                raise ValueError("webhook.auth: sns cannot be verified in this process")
            return cls(method, signatures, topic_arns=_topic_arns(webhook.get("topic_arns")))
        return cls(method, header=header, secrets=_secrets(method, webhook, webhook_secret))

    @property
    def secret_headers(self) -> frozenset[str]:
        """The headers that may hold a secret, in lower case: never to be kept with a dead letter or logged."""
        return frozenset((*SECRET_HEADERS, self.header))

    async def check(self, headers: Mapping[str, str], body: bytes, now: Micros) -> None:
        """Return if the request proved itself; `headers` have lower-case names.

        Raises:
            Unauthorized: what is missing or wrong.
            Unavailable: Amazon's certificate cannot be had now.
        """
        match self.method:
            case "header":
                self._check_header(headers)
            case "bearer":
                self._check_bearer(headers)
            case "hmac":
                self._check_hmac(headers, body)
            case "standard_webhooks":
                self._check_standard(headers, body, now)
            case "sns":
                assert self.signatures is not None
                await self.signatures.check(headers, body, self.topic_arns, now)

    def _check_header(self, headers: Mapping[str, str]) -> None:
        given = [headers[name] for name in (self.header, API_KEY) if name in headers]
        if not given:
            raise Unauthorized(f"the request has no secret: send it as the header {self.header} or {API_KEY}")
        if not any(_matches(one, self.secrets) for one in given):
            raise Unauthorized("the secret in the header is wrong")

    def _check_bearer(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(
                "the request has no token: send it as the header Authorization: Bearer <secret>"
            )
        if not _matches(token.strip(), self.secrets):
            raise Unauthorized("the bearer token is wrong")

    def _check_hmac(self, headers: Mapping[str, str], body: bytes) -> None:
        name = self.header if self.header in headers and self.header != HEADER else SIGNATURE
        given = headers.get(name)
        if given is None:
            raise Unauthorized(f"the request has no signature: send it as the header {name}")
        digests = [hmac.digest(secret.encode(), body, "sha256") for secret in self.secrets]
        given = given.strip()
        given = given[len(SHA256) :] if given[: len(SHA256)].lower() == SHA256 else given
        in_hex = _matches(given.lower(), [one.hex() for one in digests])
        in_base64 = _matches(given, [base64.b64encode(one).decode() for one in digests])
        if not in_hex and not in_base64:
            raise Unauthorized(f"the signature in {name} does not fit the body and the secret")

    def _check_standard(self, headers: Mapping[str, str], body: bytes, now: Micros) -> None:
        """Check a signature of Standard Webhooks. Source: its specification, "Verifying webhook authenticity"."""
        prefix = SVIX if "webhook-signature" not in headers and f"{SVIX}signature" in headers else "webhook-"
        message_id, given = headers.get(f"{prefix}id"), headers.get(f"{prefix}signature")
        seconds = headers.get(f"{prefix}timestamp", "")
        if not message_id or not given or not seconds:
            raise Unauthorized("the request has no webhook-id, webhook-timestamp or webhook-signature")
        if not _SECONDS.fullmatch(seconds):
            raise Unauthorized("webhook-timestamp is not a time in seconds")
        if abs(int(seconds) * SECOND - now) > TOLERANCE:
            raise Unauthorized("webhook-timestamp is more than five minutes from now")
        try:
            text = body.decode()
            message_id.encode()
        except UnicodeError:
            raise Unauthorized("the body is not text, which is all that Standard Webhooks signs") from None
        at = datetime.fromtimestamp(int(seconds), UTC)
        wanted = [Webhook(secret).sign(message_id, at, text) for secret in self.secrets]
        if not any(_matches(one, wanted) for one in _SIGNATURE.findall(given)[:MAX_SIGNATURES]):
            raise Unauthorized("no signature in webhook-signature fits the body and the secret")


def is_short(secret: str) -> bool:
    """Return whether a secret is too short to be set; one that is found so is warned about and used."""
    return len(secret.strip().removeprefix("whsec_")) < MIN_SECRET


def _matches(given: str, wanted: tuple[str, ...] | list[str]) -> bool:
    """Compare in constant time with every one. A header arrives as Latin-1 whatever it held."""
    raw = given.encode("latin-1", "replace")
    return any(hmac.compare_digest(raw, one.encode()) for one in wanted)


def _header(name: object) -> str:
    if name is None:
        return HEADER
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name.lower()):
        raise ValueError("webhook.header: must be the name of a header, such as X-Webhook-Secret")
    return name.lower()


def _secrets(method: str, webhook: Mapping[str, Any], column: str | None) -> tuple[str, ...]:
    """Return the current secret and, while it is being changed, the previous one."""
    named = {
        "webhook.secret": webhook.get("secret"),
        "webhook.previous_secret": webhook.get("previous_secret"),
    }
    if named["webhook.secret"] is None:
        named = {"webhook_secret": column, "webhook.previous_secret": named["webhook.previous_secret"]}
    secrets: list[str] = []
    for setting, secret in named.items():
        if secret is None and setting == "webhook.previous_secret":
            continue
        if not isinstance(secret, str) or not secret.strip():
            raise ValueError(f"{setting}: webhook.auth {method} needs a secret as text: set webhook.secret")
        if is_encrypted(secret):
            raise ValueError(f"{setting}: is still encrypted")
        if method == "standard_webhooks" and not _is_standard(secret.strip()):
            raise ValueError(
                f"{setting}: must be whsec_ and base64 of at least 12 bytes, as Standard Webhooks has it"
            )
        secrets.append(secret.strip())
    return tuple(secrets)


def _is_standard(secret: str) -> bool:
    return bool(_BASE64.fullmatch(secret)) and len(secret.removeprefix("whsec_").rstrip("=")) % 4 != 1


def _topic_arns(value: object) -> frozenset[str]:
    """Return the allowed topics: a signature only proves that some topic of Amazon's sent the message."""
    told = "webhook.topic_arns: must be a list of the topics that may send, such as "
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TOPICS:
        raise ValueError(f'{told}["arn:aws:sns:eu-west-1:123456789012:presence"]')
    if not all(isinstance(arn, str) and _TOPIC_ARN.fullmatch(arn) for arn in value):
        raise ValueError(
            f'{told}["arn:aws:sns:eu-west-1:123456789012:presence"]; one of them is no topic\'s ARN'
        )
    return frozenset(value)
