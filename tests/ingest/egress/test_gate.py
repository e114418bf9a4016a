"""Every connection that a tenant's row asks for, met by the gate: what is checked is what is connected to."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingest.api.settings import ApiSettings
from ingest.clock import StrictClock
from ingest.egress.gate import Egress
from ingest.egress.networks import parsed
from ingest.errors import AddressRefused, Unavailable
from ingest.integrations.cluster import Cluster
from ingest.jetstream.connection import JetStreamConnection
from ingest.mqtt.auto import open_connection
from ingest.mqtt.port import Broker
from ingest.providers.factory import create_provider
from ingest.providers.settings import ProviderSettings
from ingest.webhooks.sns import Signatures
from tests.providers.worlds import HASTY

STRANGER = Egress(())
SAS = "HostName=127.0.0.1;SharedAccessKeyName=a;SharedAccessKey=YWFhYQ=="


@pytest.fixture
async def met() -> AsyncIterator[tuple[int, list[object]]]:
    """A port on loopback, and who connected to it."""
    came: list[object] = []

    async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], came
    server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "::ffff:127.0.0.1", "0"])
@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_no_broker_on_loopback_is_met(protocol: str, host: str, met: tuple[int, list[object]]) -> None:
    broker = Broker(host, met[0], "c", egress=STRANGER)
    with pytest.raises(AddressRefused, match="ROLLCALL_PRIVATE_NETWORKS"):
        await open_connection(protocol, broker, StrictClock())
    assert met[1] == []


async def test_no_server_of_nats_on_loopback_is_met(met: tuple[int, list[object]]) -> None:
    broker = Broker("127.0.0.1", met[0], "c", egress=STRANGER)
    connection = JetStreamConnection(broker, Cluster((f"127.0.0.1:{met[0]}",)), [], StrictClock())
    with pytest.raises(AddressRefused):
        await connection.connect()
    assert met[1] == []


async def test_a_server_of_nats_leads_to_no_address_that_it_names_itself(
    met: tuple[int, list[object]],
) -> None:
    """A cluster tells its clients of its other servers, and they go there when it refuses them."""
    told = b'INFO {"server_id":"x","version":"2.10.0","connect_urls":["127.0.0.2:%d"]}\r\n' % met[0]

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(told + b"-ERR 'Authorization Violation'\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    broker = Broker("127.0.0.1", port, "c", egress=Egress(parsed("127.0.0.1")), connect_timeout_s=3)
    connection = JetStreamConnection(broker, Cluster((f"127.0.0.1:{port}",)), [], StrictClock())
    with contextlib.suppress(Exception):
        await connection.connect()
    await connection.close()
    server.close()
    assert met[1] == []


@pytest.mark.parametrize(
    "kind, key, settings",
    [
        ("golioth", "k" * 16, {}),
        ("aws_iot", "AKID:secret", {"region": "eu-central-1"}),
        ("azure_iot", SAS, {}),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_no_provider_on_loopback_is_met(
    kind: str, key: str, settings: dict[str, Any], host: str, met: tuple[int, list[object]]
) -> None:
    url = f"https://{host}:{met[0]}"
    provider = create_provider(ProviderSettings(kind, "project", url, key, settings, STRANGER), limits=HASTY)
    with pytest.raises(AddressRefused):
        await provider.test_connection()
    await provider.aclose()
    assert met[1] == []


async def test_the_host_in_a_key_is_checked_too() -> None:
    provider = create_provider(ProviderSettings("azure_iot", None, None, SAS, {}, STRANGER), limits=HASTY)
    with pytest.raises(AddressRefused):
        await provider.test_connection()
    await provider.aclose()


async def test_a_name_that_means_another_address_after_the_check_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, met: tuple[int, list[object]]
) -> None:
    """DNS rebinding: the first answer passes the check, the next ones are loopback."""
    answers = ["127.0.0.3"]

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        address = answers.pop(0) if answers else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("ingest.egress.gate.socket.getaddrinfo", look_up)
    with pytest.raises(OSError):  # noqa: PT011 - nobody listens at the address that was checked
        await Egress(parsed("127.0.0.3")).connected("rebinding.example", met[0])
    assert met[1] == []


async def test_of_several_addresses_only_those_that_are_permitted_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.1", "1.1.1.1")]

    monkeypatch.setattr("ingest.egress.gate.socket.getaddrinfo", look_up)
    places = await STRANGER.places("both.example", 1883)
    assert [one.address for one in places] == ["1.1.1.1"]


async def test_an_address_that_does_not_answer_does_not_keep_the_next_one_waiting(
    monkeypatch: pytest.MonkeyPatch, met: tuple[int, list[object]]
) -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.9", met[0]))
    silent.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for one in fillers:  # its queue of connections is full: the kernel answers no SYN
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(("127.0.0.9", met[0]))

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.9", "127.0.0.1")
        ]

    monkeypatch.setattr("ingest.egress.gate.socket.getaddrinfo", look_up)
    async with asyncio.timeout(2):
        connected = await Egress().connected("slow.example", met[0])
    assert connected.getpeername()[0] == "127.0.0.1"
    for one in (connected, silent, *fillers):
        one.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.example.com/jwks",
        "http://127.0.0.1@example.com/jwks",
        "https://user@example.com/jwks",
        "http://example.com/jwks",
        "https:///jwks",
        "https://",
        "http://127.0.0.1:x/jwks",
        "ftp://127.0.0.1/jwks",
        "http://[::1/jwks",
    ],
)
def test_keys_are_not_read_from_an_address_that_only_begins_like_one_of_ours(url: str) -> None:
    with pytest.raises(ValueError, match="ROLLCALL_JWT_JWKS_URL"):
        ApiSettings(jwt_jwks_url=url, jwt_issuer="i", jwt_audience="a")


@pytest.mark.parametrize("url", ["https://example.com/jwks?p=1", "http://127.0.0.1:8080/j", "http://[::1]/j"])
def test_keys_are_read_over_https_or_from_this_machine(url: str) -> None:
    assert ApiSettings(jwt_jwks_url=url, jwt_issuer="i", jwt_audience="a").jwt_jwks_url == url


async def test_amazons_names_lead_to_no_address_that_a_name_server_makes_up(
    monkeypatch: pytest.MonkeyPatch, met: tuple[int, list[object]]
) -> None:
    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", met[0]))]

    monkeypatch.setattr("ingest.egress.gate.socket.getaddrinfo", look_up)
    signatures = Signatures(egress=STRANGER)
    with pytest.raises(Unavailable, match="AddressRefused"):
        await signatures.enable("https://iot.us-east-1.amazonaws.com/confirmdestination/AYAD")
    await signatures.aclose()
    assert met[1] == []
