"""Amazon SNS: messages signed with a certificate of our own, and a stand-in for its hosts."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from handlers.events import SECOND
from ingest.webhooks.sns import canonical

NOW = 1_771_175_100 * SECOND
TOPIC = "arn:aws:sns:eu-west-1:123456789012:presence"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0123456789abcdef.pem"
SUBSCRIBE = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Answer = Callable[[httpx.Request], httpx.Response]


def pem(key: Key = KEY, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.fromtimestamp(NOW // SECOND, UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def message(**changed: Any) -> dict[str, Any]:
    form = {
        "Type": "Notification",
        "MessageId": "da41e39f",
        "TopicArn": TOPIC,
        "Message": '{"clientId":"ü\\n1"}',
        "Timestamp": "2026-02-15T17:00:00.000Z",
        "SignatureVersion": "1",
        "SigningCertURL": CERTIFICATE,
        **changed,
    }
    return {name: value for name, value in form.items() if value is not None}


def confirmation(**changed: Any) -> dict[str, Any]:
    asked = {"Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": SUBSCRIBE}
    return message(**{**asked, **changed})


def signed(form: dict[str, Any], key: rsa.RSAPrivateKey = KEY) -> bytes:
    algorithm: HashAlgorithm = SHA1() if form.get("SignatureVersion") == "1" else SHA256()
    signature = key.sign(canonical(form), padding.PKCS1v15(), algorithm)
    return json.dumps({**form, "Signature": base64.b64encode(signature).decode()}).encode()


def served(content: bytes) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(content))


class Amazon:
    """What stands where Amazon's host would; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Answer = lambda _: served(pem())

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        return self.answer(request)
