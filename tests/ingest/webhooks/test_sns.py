import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ingest.errors import Unauthorized, Unavailable
from ingest.webhooks import sns
from ingest.webhooks.auth import Authenticator
from ingest.webhooks.sns import CERTIFICATE_URL, ENABLE_URL, SUBSCRIBE_URL, Signatures, canonical
from tests.ingest.webhooks.amazon import (
    CERTIFICATE,
    HOST,
    NOW,
    OTHER,
    SUBSCRIBE,
    TOPIC,
    Amazon,
    confirmation,
    message,
    pem,
    served,
    signed,
)


@pytest.fixture
def amazon() -> Amazon:
    return Amazon()


@pytest.fixture
async def signatures(amazon: Amazon) -> AsyncIterator[Signatures]:
    signatures = Signatures(httpx.MockTransport(amazon))
    yield signatures
    await signatures.aclose()


async def check(signatures: Signatures, body: bytes) -> None:
    settings = {"webhook": {"auth": "sns", "topic_arns": [TOPIC]}}
    await Authenticator.parse(settings, None, signatures).check({}, body, NOW)


async def refused(signatures: Signatures, body: bytes) -> str:
    with pytest.raises(Unauthorized) as caught:
        await check(signatures, body)
    return str(caught.value)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "form",
    [message(), message(Subject="a subject"), confirmation(), confirmation(Type="UnsubscribeConfirmation")],
)
async def test_what_amazon_signed_is_taken(
    signatures: Signatures, version: str, form: dict[str, Any]
) -> None:
    await check(signatures, signed({**form, "SignatureVersion": version}))


@pytest.mark.parametrize("form", [message(Subject="s"), confirmation()])
async def test_a_change_of_any_signed_key_is_refused(signatures: Signatures, form: dict[str, Any]) -> None:
    body = json.loads(signed(form))
    for key in sns.SIGNED[form["Type"]]:
        if key in ("Type", "TopicArn"):
            continue
        assert "signature" in await refused(signatures, json.dumps({**body, key: body[key] + "x"}).encode())
    for key in form:
        if key != "Subject":
            await refused(signatures, json.dumps({**body, key: None}).encode())
            await refused(signatures, json.dumps({**body, key: 5}).encode())


async def test_the_string_that_is_signed_is_the_documented_one() -> None:
    assert canonical(message(Subject="s")).decode().split("\n") == [
        "Message", '{"clientId":"ü\\n1"}', "MessageId", "da41e39f", "Subject", "s",
        "Timestamp", "2026-02-15T17:00:00.000Z", "TopicArn", TOPIC, "Type", "Notification", "",
    ]  # fmt: skip
    keys = canonical(confirmation()).decode().split("\n")[::2]
    assert keys == ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type", ""]


async def test_a_signature_by_another_key_or_of_another_version_is_refused(signatures: Signatures) -> None:
    assert "does not fit" in await refused(signatures, signed(message(), OTHER))
    body = json.loads(signed(message()))
    assert "does not fit" in await refused(signatures, json.dumps({**body, "SignatureVersion": "2"}).encode())
    assert "neither" in await refused(signatures, json.dumps({**body, "SignatureVersion": "3"}).encode())
    assert "base64" in await refused(signatures, json.dumps({**body, "Signature": "***"}).encode())


async def test_another_topic_is_refused_before_anything_is_fetched(
    signatures: Signatures, amazon: Amazon
) -> None:
    assert "topic" in await refused(signatures, signed(message(TopicArn=TOPIC + "x")))
    assert amazon.asked == []


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE.replace("https", "http"),
        "https://sns.eu-west-1.amazonaws.com.example.org/a.pem",
        "https://example.org/sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com@example.org/a.pem",
        "https://x.sns.eu-west-1.amazonaws.com/a.pem",
        "https://bucket.s3.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem?x=1",
        "https://sns.eu-west-1.amazonaws.com/a.pem#.pem",
        "https://sns.eu-west-1.amazonaws.com/a/../b.pem",
        "https://sns.eu-west-1.amazonaws.com/a.txt",
        "https://sns.eu-west-1xamazonaws.com/a.pem",
        "https://sns.evil.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem\n",
        "",
    ],
)
async def test_a_certificate_from_anywhere_else_is_never_fetched(
    signatures: Signatures, amazon: Amazon, url: str
) -> None:
    assert "SigningCertURL" in await refused(signatures, signed(message(SigningCertURL=url)))
    assert amazon.asked == []


async def test_amazons_chinese_hosts_are_amazons_too(signatures: Signatures) -> None:
    url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0.pem"
    await check(signatures, signed(message(SigningCertURL=url)))


async def test_a_certificate_is_fetched_once_and_only_so_many_are_kept(
    signatures: Signatures, amazon: Amazon
) -> None:
    for _ in range(3):
        await check(signatures, signed(message()))
    assert amazon.asked == [CERTIFICATE]
    for number in range(sns.MAX_CERTIFICATES):
        await check(signatures, signed(message(SigningCertURL=f"{HOST}/{number}.pem")))
    await check(signatures, signed(message(SigningCertURL=f"{HOST}/{number}.pem")))
    assert len(amazon.asked) == 1 + sns.MAX_CERTIFICATES
    await check(signatures, signed(message()))
    assert amazon.asked[-1] == CERTIFICATE


@pytest.mark.parametrize(
    "content, told",
    [
        (b"no certificate", "does not hold"),
        (b"x" * (sns.MAX_ANSWER_BYTES + 1), "larger"),
        (pem(days=-1), "not valid"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA"),
    ],
)
async def test_a_certificate_that_cannot_be_one_is_refused(
    signatures: Signatures, amazon: Amazon, content: bytes, told: str
) -> None:
    amazon.answer = lambda _: served(content)
    assert told in await refused(signatures, signed(message()))


@pytest.mark.parametrize("status", [404, 301])
async def test_a_certificate_that_is_not_there_is_refused_and_no_redirect_is_followed(
    signatures: Signatures, amazon: Amazon, status: int
) -> None:
    amazon.answer = lambda _: httpx.Response(status, headers={"location": "https://example.org/a.pem"})
    assert "not there" in await refused(signatures, signed(message()))
    assert len(amazon.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_while_amazon_has_no_certificate_the_message_must_come_again(
    signatures: Signatures, amazon: Amazon, status: int
) -> None:
    amazon.answer = lambda _: httpx.Response(status)
    with pytest.raises(Unavailable, match="certificate"):
        await check(signatures, signed(message()))
    amazon.answer = lambda _: served(pem())
    await check(signatures, signed(message()))


async def test_a_host_that_cannot_be_reached_is_away(signatures: Signatures, amazon: Amazon) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    amazon.answer = away
    with pytest.raises(Unavailable, match="ConnectError"):
        await check(signatures, signed(message()))


async def test_a_host_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(sns, "DEADLINE_S", 0.05)
    signatures = Signatures(httpx.MockTransport(silent))
    with pytest.raises(Unavailable, match="TimeoutError"):
        await check(signatures, signed(message()))
    await signatures.aclose()


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"TopicArn": []}', b'{"Type": 1}'])
async def test_a_body_that_is_no_message_is_refused(signatures: Signatures, body: bytes) -> None:
    await refused(signatures, body)


async def test_a_raw_delivery_has_no_signature(signatures: Signatures) -> None:
    with pytest.raises(Unauthorized, match="raw"):
        await signatures.check({"x-amz-sns-rawdelivery": "true"}, b"{}", frozenset({TOPIC}), NOW)


async def test_a_subscription_is_confirmed_by_visiting_its_url(
    signatures: Signatures, amazon: Amazon
) -> None:
    await signatures.confirm(SUBSCRIBE, TOPIC)
    assert len(amazon.asked) == 1
    assert amazon.asked[0].startswith(HOST)


@pytest.mark.parametrize(
    "url",
    [
        SUBSCRIBE.replace("https", "http"),
        SUBSCRIBE.replace("sns.", "sqs."),
        SUBSCRIBE.replace("amazonaws.com", "amazonaws.com.example.org"),
        SUBSCRIBE.replace("ConfirmSubscription", "Unsubscribe"),
        SUBSCRIBE.replace("presence", "another"),
        SUBSCRIBE + f"&TopicArn={TOPIC}",
        SUBSCRIBE.replace("/?", "/path?"),
        SUBSCRIBE + "&x=" * 20 + " ",
        SUBSCRIBE + "x" * 3000,
        "",
    ],
)
async def test_no_other_url_is_ever_visited(signatures: Signatures, amazon: Amazon, url: str) -> None:
    with pytest.raises(Unauthorized, match="SubscribeURL"):
        await signatures.confirm(url, TOPIC)
    assert amazon.asked == []


async def test_a_rules_destination_is_enabled_on_amazons_host_alone(
    signatures: Signatures, amazon: Amazon
) -> None:
    url = "https://iot.us-east-1.amazonaws.com/confirmdestination/AYADeMXLrPrNY2wqJAKsFNn-NBJndA"
    await signatures.enable(url)
    assert amazon.asked == [url]
    for other in (
        url.replace("https", "http"),
        url.replace("iot.", "sns."),
        url.replace(".com/", ".com.example.org/"),
        url.replace("confirmdestination/", "things/"),
        url + "/../x",
        url + "?x=1",
    ):
        with pytest.raises(Unauthorized, match="enableUrl"):
            await signatures.enable(other)
    assert amazon.asked == [url]


@pytest.mark.parametrize(
    "arns", [None, [], "x", ["x"], [5], [TOPIC, "arn:aws:sqs:eu-west-1:123456789012:q"], [TOPIC] * 65]
)
def test_the_topics_that_may_send_must_be_named(signatures: Signatures, arns: object) -> None:
    with pytest.raises(ValueError, match=r"webhook\.topic_arns"):
        Authenticator.parse({"webhook": {"auth": "sns", "topic_arns": arns}}, None, signatures)


@pytest.mark.parametrize(
    "pattern, url",
    [
        (CERTIFICATE_URL, "https://sns.eusc-de-east-1.amazonaws.eu/SimpleNotificationService-0.pem"),
        (SUBSCRIBE_URL, "https://sns.eusc-de-east-1.amazonaws.eu/?Action=ConfirmSubscription&Token=1"),
        (ENABLE_URL, "https://iot.eusc-de-east-1.amazonaws.eu/confirmdestination/AYAD"),
    ],
)
def test_the_hosts_of_the_european_cloud_are_amazons(pattern: re.Pattern[str], url: str) -> None:
    assert pattern.fullmatch(url)
    for other in ("amazonaws.eu.example.org", "amazonaws.eux", "amazonaws.com.eu", "amazonaws.de"):
        assert not pattern.fullmatch(url.replace("amazonaws.eu", other))
