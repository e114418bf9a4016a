"""TLS to the broker: from PEM texts and files to an SSLContext."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator

from ingest.egress.files import WITHIN_S, Files
from ingest.errors import Misconfigured
from ingest.mqtt.port import Tls


async def read_context(tls: Tls, files: Files) -> ssl.SSLContext:
    """Read the files that are named and build the context, both in threads of their own.

    Raises: Misconfigured when a file may not be read, or is not what it should be.
    """
    text = Tls(
        ca=await _text(files, "tls ca_file", tls.ca_file, tls.ca),
        cert=await _text(files, "tls cert_file", tls.cert_file, tls.cert),
        key=await _text(files, "tls key_file", tls.key_file, tls.key),
        verify_host=tls.verify_host,
    )
    try:
        return await files.blocking.run(object(), lambda: ssl_context(text))
    except TimeoutError:
        raise Misconfigured(f"tls: the certificates are not read within {WITHIN_S:g} s") from None


async def _text(files: Files, setting: str, name: str | None, text: str | None) -> str | None:
    return text if name is None else await files.read(setting, name)


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Build the context of PEM texts: the broker's certificate is always verified, its host name unless told otherwise.

    Raises: Misconfigured when a text is not what it should be.
    """
    try:
        context = ssl.create_default_context(cadata=tls.ca)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"tls ca: {error}; it must be certificates as PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.verify_host
    if tls.cert is not None:
        try:
            with _as_file(f"{tls.cert}\n{tls.key or ''}") as name:
                context.load_cert_chain(name, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"tls cert, key: {error}; they must be a certificate and its key as PEM"
            ) from error
    return context


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Yield a name for the text, since OpenSSL takes a chain from a file alone: in memory where there is a way."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pem"), "wb") as memory:
            memory.write(text.encode())
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
        return
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(text.encode())
        file.flush()
        yield file.name


def _no_passphrase() -> str:
    """Refuse an encrypted key: OpenSSL would ask for its passphrase on the terminal and wait."""
    raise ValueError("the key is encrypted, give one without a passphrase")


def tls_failure(error: ssl.SSLError) -> str:
    """Say in words why TLS failed: for a certificate, what is wrong with it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate was not accepted: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"
