"""JSON over HTTP: bounds, retries, and what never leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ingest.errors import Declined, Misconfigured, NotFound, ProviderAway, ProviderThrottled
from ingest.providers import http, retry
from ingest.providers.checks import checked_key, checked_url, segment
from ingest.providers.http import JsonApi, retry_after_s
from ingest.providers.retry import Limits, retrying
from tests.providers.worlds import HASTY, SECRET
from tests.servers.http import Fault, HttpServer, Request, Response


class Echo:
    """A server that answers with the request, and a client of it."""

    def __init__(self) -> None:
        self.answer = Response(200, {"ok": True})
        self.server = HttpServer(self._handle)

    async def _handle(self, request: Request) -> Response:
        return self.answer

    def api(self, limits: Limits = HASTY) -> JsonApi:
        return JsonApi("Cloud", self.server.url, lambda: {"x-api-key": SECRET}, lambda: (SECRET,), limits)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    async with echo.server:
        yield echo


@pytest.fixture
async def api(echo: Echo) -> AsyncIterator[JsonApi]:
    api = echo.api()
    yield api
    await api.aclose()


async def test_an_answer_above_the_limit_is_not_kept(
    echo: Echo, api: JsonApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 1000)
    echo.answer = Response(200, b'"' + b"x" * 998 + b'"')
    assert len((await api.call("GET", "/x")).body) == 998
    echo.answer = Response(200, b'"' + b"x" * 999 + b'"')
    with pytest.raises(ProviderAway, match="exceeds 1000 bytes"):
        await api.call("GET", "/x")


async def test_a_body_that_trickles_ends_with_the_request(echo: Echo) -> None:
    api = echo.api(Limits(read_s=5.0, request_s=0.3, retries=0))
    echo.server.always = Fault("slow")
    with pytest.raises(ProviderAway, match="no whole answer in time"):
        await asyncio.wait_for(api.call("GET", "/x"), 3)
    await api.aclose()


async def test_a_large_error_page_is_cut_and_our_key_in_it_hidden(echo: Echo, api: JsonApi) -> None:
    echo.answer = Response(400, f"<p>{SECRET}\n ".encode() * 20_000)
    with pytest.raises(Declined) as raised:
        await api.call("GET", "/x")
    assert "<p>*** <p>***" in str(raised.value)
    assert len(str(raised.value)) < 300
    assert raised.value.code == "400"


async def test_a_redirect_is_not_followed(echo: Echo, api: JsonApi) -> None:
    echo.answer = Response(302, None, {"location": "http://127.0.0.1:1/steal"})
    with pytest.raises(Declined, match="302, a redirect"):
        await api.call("GET", "/x")
    assert len(echo.server.requests) == 1


async def test_a_write_is_made_again_only_when_it_was_not_carried_out(echo: Echo, api: JsonApi) -> None:
    for fault in (Fault("status", 503), Fault("cut"), Fault("closed")):
        echo.server.requests.clear()
        echo.server.fail(fault)
        with pytest.raises(ProviderAway):
            await api.call("POST", "/x", body={})
        assert len(echo.server.requests) == 1
    echo.server.fail(Fault("status", 429))
    assert (await api.call("POST", "/x", body={})).body == {"ok": True}


async def test_the_header_is_asked_for_anew_with_each_attempt(echo: Echo) -> None:
    numbers = iter(range(9))
    api = JsonApi("Cloud", echo.server.url, lambda: {"x-n": str(next(numbers))}, list, HASTY)
    echo.server.fail(Fault("status", 500), Fault("status", 502))
    await api.call("GET", "/x")
    assert [one.headers["x-n"] for one in echo.server.requests] == ["0", "1", "2"]
    await api.aclose()


async def test_a_server_that_is_not_there_is_away() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    api = JsonApi("Cloud", f"http://127.0.0.1:{port}", dict, list, HASTY)
    with pytest.raises(ProviderAway, match="cannot be reached"):
        await api.call("GET", "/x")
    await api.aclose()


async def test_an_id_stays_one_segment_of_the_path(echo: Echo, api: JsonApi) -> None:
    await api.call("GET", f"/devices/{segment('a/../b?c#d%2F é')}")
    assert echo.server.requests[0].path == "/devices/a%2F..%2Fb%3Fc%23d%252F%20%C3%A9"
    for text in ("", ".", "..", "x" * 256):
        with pytest.raises(NotFound):
            segment(text)


async def test_a_lone_surrogate_does_not_spoil_the_whole_answer(echo: Echo, api: JsonApi) -> None:
    echo.answer = Response(200, b'{"a": "\\ud800", "b": 1}')
    assert (await api.call("GET", "/x")).body == {"a": "\ud800", "b": 1}


@pytest.mark.parametrize("body", [b'{"a": 1', b"<html>", b"[" * 100_000, b"\xff", b"9" * 5000])
async def test_what_is_not_json_is_away(echo: Echo, api: JsonApi, body: bytes) -> None:
    echo.answer = Response(200, body)
    with pytest.raises(ProviderAway, match="cut off or not JSON"):
        await api.call("GET", "/x")


async def waits(limits: Limits, failure: ProviderAway, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long is waited between the attempts at something that always fails so."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def attempt() -> None:
        raise failure

    monkeypatch.setattr(retry.asyncio, "sleep", sleep)
    with pytest.raises(ProviderAway) as raised:
        await retrying(attempt, limits, idempotent=True)
    assert raised.value is failure
    return waited


async def test_waits_grow_to_their_cap_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(retries=12)
    first, second = [await waits(limits, ProviderAway("x"), monkeypatch) for _ in range(2)]
    assert len(first) == len(second) == 12
    assert first != second
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert 0 <= min(one, other) <= max(one, other) <= min(20.0, 0.5 * 2**number)


async def test_the_provider_is_left_alone_as_long_as_it_says_up_to_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for told, waited in ((7.0, 7.0), (60.0, 60.0), (3600.0, 60.0)):
        found = await waits(Limits(retries=2), ProviderThrottled("x", told), monkeypatch)
        assert all(waited <= one <= waited + 1 for one in found)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("120") == 120
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < (retry_after_s(later) or 0) <= 90
    assert retry_after_s(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)) == 0
    for nothing in (None, "", "soon", "-5", "1e3", "²"):
        assert retry_after_s(nothing) is None
    assert retry_after_s("9" * 400) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com", "http://10.0.0.1", "ftp://127.0.0.1", "https://", "api.example.com", "https://[::1",
        "https://u:hush@api.example.com", "https://api.example.com?key=hush", "https://api.example.com#hush", "",
        "https://api.example.com:99999", "https://a\0b", "https://api.example.com/\n",
    ],
)  # fmt: skip
def test_a_key_is_never_sent_in_the_clear_nor_kept_in_an_address(url: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        checked_url(url)
    assert "hush" not in str(raised.value)


def test_https_and_this_machine_are_good_addresses() -> None:
    for url in ("https://api.example.com/", "http://127.0.0.1:80", "http://localhost:1", "http://[::1]:1"):
        assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize("key", [None, "", "  ", "hush hush", "hush\nx-admin: 1", "hush\0", "hüsh"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_being_shown(key: str | None) -> None:
    with pytest.raises(Misconfigured) as raised:
        checked_key(key, "the key")
    assert "hush" not in str(raised.value)
    assert checked_key(" key\n", "the key") == "key"


async def test_the_request_is_as_it_was_meant(echo: Echo, api: JsonApi) -> None:
    await api.call(
        "POST", "/x", query={"tags": ["a", "b"], "on": True}, body={"k": "ü"}, headers={"if-match": "1"}
    )
    request = echo.server.requests[0]
    assert request.query == {"tags": ["a", "b"], "on": ["true"]}
    assert json.loads(request.body) == {"k": "ü"}
    assert (request.headers["x-api-key"], request.headers["if-match"]) == (SECRET, "1")
    assert request.headers["content-type"] == "application/json"
