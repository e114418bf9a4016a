"""Small input with a large cost: expressions at their worst, deep nesting, huge integers, lying CBOR."""

from collections.abc import Callable
from uuid import UUID

import orjson
import pytest

from handlers import timestamps, units, versions
from handlers.dialects.plain import Context, decode
from handlers.events import Publish
from handlers.topics import Topics
from handlers.webhooks import delivery, payload, reports
from ingest.providers.aws_iot import provider
from ingest.webhooks import answers, auth, sns
from tests.handlers.webhooks.samples import NOW
from tests.hostile.cost import in_a_moment

LONG = 200_000
PATTERN = Topics.parse({"telemetry": ["+/{}/" * 20 + "{device_id}/#"]}).patterns[-1].expression
WORST: dict[str, tuple[Callable[[str], object], str, str, str]] = {
    "units": (units._FIGURE.fullmatch, "1", " ", "x"),
    "units.digits": (units._FIGURE.fullmatch, "", "9", "x"),
    "timestamps.number": (timestamps._NUMBER.fullmatch, "", "1", "x"),
    "timestamps.date": (timestamps._DATE.fullmatch, "2026-W01", "\n", ""),
    "reports.number": (reports._NUMBER.fullmatch, "1.", "1", "e"),
    "versions": (versions._SEMVER.fullmatch, "1.1.1-", "a.", "\0"),
    "versions.build": (versions._SEMVER.fullmatch, "1.1.1-a", "+a", "\0"),
    "topics": (PATTERN.fullmatch, "", "a/", "\0"),
    "auth.header": (auth._HEADER_NAME.fullmatch, "", "a", "\0"),
    "auth.base64": (auth._BASE64.fullmatch, "whsec_", "A", "\0"),
    "auth.arn": (auth._TOPIC_ARN.fullmatch, "arn:aws", "-a", "\0"),
    "auth.seconds": (auth._SECONDS.fullmatch, "", "1", "x"),
    "sns.certificate": (sns.CERTIFICATE_URL.fullmatch, "https://sns.eu", "-a", "\0"),
    "sns.subscribe": (sns.SUBSCRIBE_URL.fullmatch, "https://sns.eu-west-1.amazonaws.com/?", "a", "\0"),
    "sns.enable": (sns.ENABLE_URL.fullmatch, "https://iot.eu", "-west", "\0"),
    "aws.region": (provider.REGION.fullmatch, "eu", "-a", "\0"),
    "answers.origin": (answers._ORIGIN.fullmatch, "", "a.", "\0"),
}


@pytest.mark.parametrize("name", WORST)
def test_no_expression_takes_longer_than_its_text(name: str) -> None:
    matches, before, repeated, after = WORST[name]
    in_a_moment(lambda: matches(before + repeated * LONG + after))


@pytest.mark.parametrize(
    "body",
    [
        b'["' + b"\\\\" * LONG + b'"]',
        b'["' + b'a\\"' * LONG + b'"]',
        b"[" + b'"",' * LONG + b"{}]",
        b"[" * 1_000 + b"]" * 1_000,
    ],
)
def test_cutting_a_nested_body_takes_no_longer_than_its_text(body: bytes) -> None:
    orjson.loads(body)  # only what is JSON is ever cut
    in_a_moment(lambda: sum(1 for _ in delivery._TOKEN.finditer(body)))


BOMBS = {
    "depth": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "array depth": b"[" * 100_000 + b"]" * 100_000,
    "digits": b'{"battery":' + b"9" * 100_000 + b"}",
    "digits of a time": b'{"ts":"' + b"9" * 100_000 + b'"}',
    "digits of a fraction": b'{"battery":0.' + b"9" * 100_000 + b"}",
    "exponent": b'{"battery":1e' + b"9" * 100_000 + b"}",
    "the same key": b"{" + b",".join([b'"battery":1'] * 60_000) + b"}",
    "many keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(50_000)) + b"}",
    "many entries": b"[" + b",".join([b"{}"] * 100_000) + b"]",
    "a long key": b'{"' + b"k" * 900_000 + b'":1}',
    "escapes": b'{"battery":"' + b"\\ud83d" * 150_000 + b'"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_json_bomb_costs_a_moment_and_no_exception(name: str) -> None:
    body = BOMBS[name]
    context = Context(UUID(int=1), Topics.parse(None))
    publish = Publish("devices/d/telemetry", body, 1, False, False, 1, NOW, len(body))
    in_a_moment(lambda: decode(publish, context, None))


CBOR = {
    "a text that claims 2^62 bytes": b"\x7b\x3f" + b"\xff" * 7,
    "an array that claims 2^62 entries": b"\x9b\x3f" + b"\xff" * 7,
    "a map that claims 2^31 pairs": b"\xba\x7f\xff\xff\xff",
    "nested tags": b"\xc1" * 100_000 + b"\x00",
    "nested arrays": b"\x81" * 100_000 + b"\x00",
    "indefinite arrays": b"\x9f" * 100_000,
    "an indefinite text without end": b"\x7f" + b"\x61a" * 100_000,
    "a number of a megabit": b"\xc2\x5a\x00\x02\x00\x00" + b"\xff" * 0x20000,
    "a decimal with a huge exponent": b"\xc4\x82\x1b\x0f" + b"\xff" * 7 + b"\x01",
    "a binary fraction with a huge exponent": b"\xc5\x82\x1b\x0f" + b"\xff" * 7 + b"\x01",
    "a binary fraction of a million bits": b"\xc5\x82\x1a\x00\x0f\x42\x40\x01",
    "a rational of zero": b"\xd8\x1e\x82\x01\x00",
    "an expression that does not end": b"\xd8\x23\x78\x1a" + b"(a+)+" * 5 + b"$",
    "an address that is none": b"\xd9\x01\x04\x41\x00",
    "a message of mail": b"\xd8\x24\x79\xff\xff" + b"a:" * 32_767 + b"a",
}


@pytest.mark.parametrize("name", CBOR)
def test_a_cbor_bomb_costs_a_moment_and_ends_in_a_value_or_in_words(name: str) -> None:
    assert 0 < len(in_a_moment(lambda: told(CBOR[name]))) < 2_000


def told(body: bytes) -> str:
    try:
        payload.loads(body, "application/cbor", [])
    except ValueError as error:
        return str(error)
    return "a value"
