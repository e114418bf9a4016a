"""TLS to a real broker, with a certificate authority made for the test."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest.errors import BrokerAway, Misconfigured
from ingest.mqtt.port import Subscription, Tls
from ingest.mqtt.tls import ssl_context
from tests.ingest.mqtt.conftest import Adapter, publishes
from tests.servers.mosquitto import MosquittoServer
from tests.servers.started import started

_Issuer = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def _certificate(
    folder: Path, name: str, issuer: _Issuer | None = None, address: str = "127.0.0.1"
) -> _Issuer:
    """Write {name}.pem and {name}.key; without an issuer it is an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, by_key = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(host, critical=False)
        .sign(by_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)
    )
    return subject, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = _certificate(folder, "ca")
    _certificate(folder, "server", authority)
    _certificate(folder, "client", authority)
    _certificate(folder, "stranger")
    _certificate(folder, "elsewhere", authority, "127.0.0.2")
    return folder


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[MosquittoServer]:
    """A broker that asks for a client certificate."""
    server = MosquittoServer(
        f"cafile {folder}/ca.pem",
        f"certfile {folder}/server.pem",
        f"keyfile {folder}/server.key",
        "require_certificate true",
    )
    try:
        server.start()
        yield server
    finally:
        server.destroy()


async def test_a_client_certificate_and_many_publishes(
    adapter: Adapter, broker: MosquittoServer, folder: Path
) -> None:
    tls = Tls(f"{folder}/ca.pem", f"{folder}/client.pem", f"{folder}/client.key")
    connection, _ = await adapter.open(broker.port, f"tls{adapter.protocol}", tls=tls)
    await connection.subscribe([Subscription(adapter.protocol)])
    for size in (10, 100_000):
        await connection.publish(adapter.protocol, b"x" * size)
    came = await publishes(connection, 2)
    assert [one.size for one in came] == [10, 100_000]
    connection.acknowledge(came)
    await connection.close()


async def test_a_broker_of_another_authority_is_not_trusted(
    adapter: Adapter, broker: MosquittoServer, folder: Path
) -> None:
    with pytest.raises(BrokerAway, match="certificate was not accepted"):
        await adapter.open(broker.port, "c", tls=Tls(f"{folder}/stranger.pem"))


async def test_a_broker_under_another_address_than_its_certificate_names_is_not_trusted_unless_told(
    adapter: Adapter, folder: Path
) -> None:
    files = f"cafile {folder}/ca.pem", f"certfile {folder}/elsewhere.pem", f"keyfile {folder}/elsewhere.key"
    with started(MosquittoServer(*files)) as elsewhere:
        with pytest.raises(BrokerAway, match="certificate was not accepted"):
            await adapter.open(elsewhere.port, "c", tls=Tls(f"{folder}/ca.pem"))
        connection, _ = await adapter.open(
            elsewhere.port, "c", tls=Tls(f"{folder}/ca.pem", verify_host=False)
        )
        await connection.close()


def test_no_version_of_tls_before_1_2_is_spoken() -> None:
    context = ssl_context(Tls())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_a_missing_file_is_named(adapter: Adapter, broker: MosquittoServer, folder: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.pem"):
        await adapter.open(broker.port, "c", tls=Tls(f"{folder}/nowhere.pem"))


async def test_certificates_are_taken_as_text_too(
    adapter: Adapter, broker: MosquittoServer, folder: Path
) -> None:
    text = {name: (folder / name).read_text() for name in ("ca.pem", "client.pem", "client.key")}
    tls = Tls(ca=text["ca.pem"], cert=text["client.pem"], key=text["client.key"])
    connection, _ = await adapter.open(broker.port, f"text{adapter.protocol}", tls=tls)
    await connection.close()
    together = Tls(ca=text["ca.pem"], cert=text["client.pem"] + text["client.key"])
    connection, _ = await adapter.open(broker.port, f"both{adapter.protocol}", tls=together)
    await connection.close()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
async def test_a_text_that_is_no_certificate_is_said_and_not_repeated(
    adapter: Adapter, broker: MosquittoServer, folder: Path, text: str
) -> None:
    with pytest.raises(Misconfigured, match="tls ca"):
        await adapter.open(broker.port, "c", tls=Tls(ca=text or "x"))
    with pytest.raises(Misconfigured, match="tls cert, key") as raised:
        await adapter.open(broker.port, "c", tls=Tls(cert=text or "x"))
    assert "nonsense" not in str(raised.value)
