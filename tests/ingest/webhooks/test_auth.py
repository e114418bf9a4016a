"""Proofs of a request: those that count, those that do not; no error tells a secret."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from handlers.events import SECOND
from ingest.errors import Unauthorized
from ingest.webhooks.auth import METHODS, Authenticator, is_short

NOW = 1_771_175_100 * SECOND
BODY = '{"temp": 21.5, "é": 1}'.encode()
SECRET = "c2VjcmV0IG9mIGEgY2xvdWQh"
OLD = "whsec_b2xkIHNlY3JldCBvZiBpdCE="


def authenticator(column: str | None = None, **webhook: Any) -> Authenticator:
    return Authenticator.parse({"webhook": webhook}, column)


async def refused(method: Authenticator, headers: Mapping[str, str], body: bytes = BODY) -> str:
    with pytest.raises(Unauthorized) as caught:
        await method.check(headers, body, NOW)
    told = str(caught.value)
    assert told
    assert SECRET not in told
    assert not any(len(value) > 5 and value in told for value in headers.values())
    return told


def signed(
    secret: str, body: bytes = BODY, seconds: int = NOW // SECOND, identity: str = "msg_1"
) -> dict[str, str]:
    at = datetime.fromtimestamp(seconds, UTC)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(seconds),
        "webhook-signature": Webhook(secret).sign(identity, at, body.decode()),
    }


def hex_of(secret: str, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers_of(method: str, secret: str) -> dict[str, str]:
    return {
        "header": {"x-webhook-secret": secret},
        "bearer": {"authorization": f"Bearer {secret}"},
        "hmac": {"x-webhook-signature": hex_of(secret)},
        "standard_webhooks": signed(secret),
    }[method]


with_secret = pytest.mark.parametrize("method", ["header", "bearer", "hmac", "standard_webhooks"])


@with_secret
async def test_the_secret_proves_a_request_and_no_secret_or_a_wrong_one_does_not(method: str) -> None:
    this = authenticator(auth=method, secret=SECRET)
    await this.check(headers_of(method, SECRET), BODY, NOW)
    await refused(this, {})
    await refused(this, headers_of(method, OLD))
    for name, value in headers_of(method, SECRET).items():
        await refused(this, {**headers_of(method, SECRET), name: value[:-1]})
        await refused(this, {**headers_of(method, SECRET), name: ""})
        await refused(this, {**headers_of(method, SECRET), name: "\xff" + value})


@with_secret
async def test_while_a_secret_is_changed_the_old_and_the_new_one_count(method: str) -> None:
    this = authenticator(auth=method, secret=SECRET, previous_secret=OLD)
    await this.check(headers_of(method, SECRET), BODY, NOW)
    await this.check(headers_of(method, OLD), BODY, NOW)
    await refused(authenticator(auth=method, secret=SECRET), headers_of(method, OLD))


@with_secret
async def test_the_platforms_column_is_the_secret_where_the_settings_name_none(method: str) -> None:
    await authenticator(SECRET, auth=method).check(headers_of(method, SECRET), BODY, NOW)
    named = authenticator(OLD, auth=method, secret=SECRET)
    await named.check(headers_of(method, SECRET), BODY, NOW)
    await refused(named, headers_of(method, OLD))


@with_secret
async def test_a_signature_is_of_this_body_alone(method: str) -> None:
    this = authenticator(auth=method, secret=SECRET)
    if method in ("hmac", "standard_webhooks"):
        await refused(this, headers_of(method, SECRET), BODY + b" ")
        await refused(this, headers_of(method, SECRET), b"\xff")


async def test_the_name_of_the_header_is_a_setting_and_an_api_key_counts_too() -> None:
    this = authenticator(auth="header", header="X-My-Key", secret=SECRET)
    await this.check({"x-my-key": SECRET}, BODY, NOW)
    await this.check({"x-api-key": SECRET}, BODY, NOW)
    await refused(this, {"x-webhook-secret": SECRET})


@with_secret
def test_every_header_that_may_hold_a_secret_is_named(method: str) -> None:
    this = authenticator(auth=method, secret=SECRET, header="X-My-Key")
    assert {"x-my-key", "x-api-key"} <= this.secret_headers
    holding = {name for name in headers_of(method, SECRET) if name not in ("webhook-id", "webhook-timestamp")}
    assert holding <= this.secret_headers


async def test_a_secret_outside_ascii_is_compared_by_its_bytes() -> None:
    this = authenticator(auth="header", secret="schlüssel")
    await this.check({"x-api-key": "schlüssel".encode().decode("latin-1")}, BODY, NOW)
    await refused(this, {"x-api-key": "schl\u4e00ssel"})


async def test_an_hmac_may_carry_its_prefix_and_upper_case() -> None:
    this = authenticator(auth="hmac", secret=SECRET)
    await this.check({"x-webhook-signature": "sha256=" + hex_of(SECRET)}, BODY, NOW)
    await this.check({"x-webhook-signature": hex_of(SECRET).upper()}, BODY, NOW)
    await refused(this, {"x-webhook-signature": "sha1=" + hex_of(SECRET)})


@pytest.mark.parametrize("seconds, fits", [(-301, False), (-300, True), (300, True), (301, False)])
async def test_a_signed_timestamp_is_good_for_five_minutes(seconds: int, fits: bool) -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    headers = signed(SECRET, seconds=NOW // SECOND + seconds)
    if fits:
        await this.check(headers, BODY, NOW)
    else:
        assert "five minutes" in await refused(this, headers)


@pytest.mark.parametrize("seconds", ["1771175100.5", "-1", "now", "9" * 400, "\u0661"])
async def test_a_timestamp_that_is_none_is_refused(seconds: str) -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    await refused(this, {**signed(SECRET), "webhook-timestamp": seconds})


async def test_one_of_several_signatures_is_enough() -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    good = signed(SECRET)
    several = f"v1a,{'A' * 86}== v1 v1, {good['webhook-signature']}"
    await this.check({**good, "webhook-signature": several}, BODY, NOW)
    await refused(this, {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")})


async def test_an_id_or_a_time_that_was_not_signed_is_refused() -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    await refused(this, {**signed(SECRET), "webhook-id": "msg_2"})
    await refused(this, {**signed(SECRET), "webhook-timestamp": str(NOW // SECOND - 1)})


async def test_none_lets_everything_in_and_must_be_said() -> None:
    await authenticator(auth="none").check({}, BODY, NOW)


@pytest.mark.parametrize(
    "settings, column, named",
    [
        ({}, None, "webhook.auth"),
        ({}, SECRET, "webhook.auth"),
        ({"webhook": {}}, SECRET, "webhook.auth"),
        ({"webhook": {"auth": None}}, None, "webhook.auth"),
        ({"webhook": {"auth": SECRET}}, None, "webhook.auth"),
        ({"webhook": {"auth": ["none"]}}, None, "webhook.auth"),
        ({"webhook": SECRET}, None, "webhook"),
        ({"webhook": {"auth": "header"}}, None, "webhook_secret"),
        ({"webhook": {"auth": "header"}}, " ", "webhook_secret"),
        ({"webhook": {"auth": "header", "secret": ""}}, SECRET, "webhook.secret"),
        ({"webhook": {"auth": "header", "secret": 5}}, None, "webhook.secret"),
        ({"webhook": {"auth": "header", "secret": f"rc1:k:{SECRET}"}}, None, "webhook.secret"),
        ({"webhook": {"auth": "header", "secret": SECRET, "header": "a b"}}, None, "webhook.header"),
        (
            {"webhook": {"auth": "header", "secret": SECRET, "previous_secret": ""}},
            None,
            "webhook.previous_secret",
        ),
        (
            {"webhook": {"auth": "standard_webhooks", "secret": f"{SECRET} not base64"}},
            None,
            "webhook.secret",
        ),
        ({"webhook": {"auth": "standard_webhooks", "secret": SECRET + "A"}}, None, "webhook.secret"),
        ({"webhook": {"auth": "sns", "topic_arns": ["x"]}}, None, "webhook.auth"),
    ],
)
def test_settings_that_cannot_be_used_are_named_and_no_secret_is_told(
    settings: dict[str, Any], column: str | None, named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named}[ :]") as caught:
        Authenticator.parse(settings, column)
    assert SECRET not in str(caught.value)


def test_an_authenticator_shows_no_secret() -> None:
    assert SECRET not in repr(authenticator(auth="header", secret=SECRET))


@with_secret
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "x-api-key",
                "authorization",
                "x-webhook-signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
            ]
        ),
        st.text(max_size=60) | st.sampled_from(["Bearer x", "1771175100", "v1,", "v1,AA== v1,"]),
    ),
    body=st.binary(max_size=40),
)
async def test_nothing_but_the_secret_gets_in(method: str, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Unauthorized):
        await authenticator(auth=method, secret=SECRET).check(headers, body, NOW)


def test_every_method_is_tested_here_or_beside() -> None:
    assert set(METHODS) == {"header", "bearer", "hmac", "standard_webhooks", "none", "sns"}


@pytest.mark.parametrize("form", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256=", "SHA256="])
@pytest.mark.parametrize("name", ["X-Hub-Signature-256", "X-Shopify-Hmac-Sha256", None])
async def test_an_hmac_stands_in_the_header_that_is_named_in_hexadecimal_or_base64(
    name: str | None, prefix: str, form: str
) -> None:
    this = authenticator(auth="hmac", secret=SECRET, **({"header": name} if name else {}))
    digest = hmac.digest(SECRET.encode(), BODY, "sha256")
    text = prefix + (digest.hex() if form == "hex" else base64.b64encode(digest).decode())
    header = (name or "X-Webhook-Signature").lower()
    await this.check({header: text}, BODY, NOW)
    assert header in this.secret_headers
    await refused(this, {header: text}, BODY + b" ")
    await refused(this, {header: text[:-2]})
    await refused(this, {"x-other": text})
    if form == "base64":  # whose letters have a case
        await refused(this, {header: prefix + text[len(prefix) :].swapcase()})


async def test_the_former_names_of_standard_webhooks_count() -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    svix = {name.replace("webhook-", "svix-"): value for name, value in signed(SECRET).items()}
    await this.check(svix, BODY, NOW)
    await refused(this, svix, BODY + b" ")
    await refused(this, {**svix, "svix-id": "msg_2"})
    await refused(this, {**svix, "svix-timestamp": str(NOW // SECOND + 1)})
    assert "svix-signature" in this.secret_headers


@pytest.mark.parametrize("between", [" ", ",", ", ", " , "])
async def test_signatures_of_two_header_lines_that_were_joined_count_each(between: str) -> None:
    this = authenticator(auth="standard_webhooks", secret=SECRET)
    headers, other = signed(SECRET), signed(OLD)["webhook-signature"]
    mine = headers["webhook-signature"]
    for joined in (f"{other}{between}{mine}", f"{mine}{between}{other}", f"v1a,xyz{between}{mine}"):
        await this.check({**headers, "webhook-signature": joined}, BODY, NOW)
    await refused(this, {**headers, "webhook-signature": f"{other}{between}{other}"})


@pytest.mark.parametrize("secret, short", [("x" * 15, True), ("x" * 16, False), ("whsec_" + "A" * 15, True)])
def test_a_secret_is_short_without_counting_what_says_what_it_is(secret: str, short: bool) -> None:
    assert is_short(secret) is short
