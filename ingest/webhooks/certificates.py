"""A certificate that signs messages of Amazon SNS. Imported with the first of them: the library takes several MiB."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from handlers.events import Micros
from ingest.errors import Unauthorized

_HASHES = {"1": SHA1, "2": SHA256}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Build with `Certificate.read`."""

    of: x509.Certificate

    @classmethod
    def read(cls, pem: bytes) -> Self:
        """Read what a SigningCertURL holds. Raises: Unauthorized."""
        try:
            return cls(x509.load_pem_x509_certificate(pem))
        except ValueError:
            raise Unauthorized("the SigningCertURL does not hold a certificate") from None

    def verify(self, signature: bytes, text: bytes, version: str, now: Micros) -> None:
        """Return if the text was signed by it, in the way of a SignatureVersion. Raises: Unauthorized."""
        moment = _EPOCH + timedelta(microseconds=now)
        if not self.of.not_valid_before_utc <= moment <= self.of.not_valid_after_utc:
            raise Unauthorized("the signing certificate is not valid now")
        key = self.of.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise Unauthorized("the signing certificate does not hold an RSA key")
        try:
            key.verify(signature, text, padding.PKCS1v15(), _HASHES[version]())
        except InvalidSignature:
            raise Unauthorized("the signature does not fit the message") from None
