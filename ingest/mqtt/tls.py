"""TLS to the broker: from file paths to an SSLContext."""

import ssl

from ingest.errors import Misconfigured
from ingest.mqtt.port import Tls


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Build the context: the broker's certificate is always verified, its host name unless told otherwise.

    Raises: Misconfigured when a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"tls ca_file {tls.ca_file}: {error}; it must be a PEM file of certificates"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.verify_host
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            files = f"cert_file {tls.cert_file}, key_file {tls.key_file}"
            raise Misconfigured(
                f"tls {files}: {error}; they must be a PEM certificate and its key"
            ) from error
    return context


def _no_passphrase() -> str:
    """Refuse an encrypted key: OpenSSL would ask for its passphrase on the terminal and wait."""
    raise ValueError("the key is encrypted, give one without a passphrase")


def tls_failure(error: ssl.SSLError) -> str:
    """Say in words why TLS failed: for a certificate, what is wrong with it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate was not accepted: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"
