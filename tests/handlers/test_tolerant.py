"""JSON that is none: one bad value costs that value, and what cannot be read says what it is and where."""

import contextlib
import gzip
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import tolerant
from handlers.dialects.plain import decode
from handlers.events import Presence
from tests.handlers.test_plain import context, decoded, failed, one, publish
from tests.handlers.test_plain_fuzz import bodies

ONLINE = Presence.ONLINE


@pytest.mark.parametrize(
    "number",
    ["nan", "NaN", "-nan", "+nan", "NAN", "nan(ind)", "-nan(snan)", "inf", "-inf", "+Inf", "Infinity", "-Infinity",
     "INF", "ovf", "1.#QNAN", "-1.#IND00", "1.#INF", "1e400", "-1e999", "1" + "0" * 400],
    ids=lambda value: value[:12],
)  # fmt: skip
@pytest.mark.parametrize("space", ["", " ", "\t"])
def test_a_number_that_is_none_never_costs_the_message(number: str, space: str) -> None:
    result = decoded(f'{{"battery":{space}{number}{space},"rssi":-52,"fw":"1.0","x":1}}')
    assert failed(result) == ["battery"]
    seen = one(result)
    assert (seen.presence, seen.battery_level, seen.signal_strength) == (ONLINE, None, -52)
    assert seen.firmware == (("main", "1.0"),)
    assert result.field_errors[0].value.lower().startswith(number[:4].lower())


@pytest.mark.parametrize(
    "raw, reason",
    [
        (b'"1.\xfc"', "0xfc"),
        (b'"\xed\xa0\x80"', "0xed"),
        (b'"\\ud800"', "surrogate"),
        (b'"\\ude00\\ud800"', "surrogate"),
        (b'"1.\n2"', "0x0a"),
        (b'"\x00"', "0x00"),
    ],
)
def test_one_bad_string_never_costs_the_message(raw: bytes, reason: str) -> None:
    result = decoded(b'{"fw":' + raw + b',"battery":5,"note":"caf\xc3\xa9 \\" \\\\"}')
    assert failed(result) == ["fw"]
    assert reason in result.field_errors[0].error
    assert (one(result).battery_level, one(result).firmware) == (5, ())


def test_a_bad_value_that_no_field_reads_is_named_by_its_path() -> None:
    result = decoded(
        b'{"SI7021":{"Temperature":nan,"Name":"K\xfcche"},"battery":44,"list":[1,-inf],"k\x01":2}'
    )
    assert failed(result) == ["SI7021.Temperature", "SI7021.Name", "list.1", "k\\x01"]
    assert one(result).battery_level == 44


def test_words_like_nan_inside_a_string_stay_as_they_are() -> None:
    result = decoded('{"fw":"nan, \\"inf\\", NaN","x":nan}')
    assert one(result).firmware == (("main", 'nan, "inf", NaN'),)
    assert failed(result) == ["x"]


def test_a_good_string_beside_a_bad_number_may_hold_escapes_and_pairs() -> None:
    result = decoded('{"fw":"1.0\\u0020\\ud83d\\ude00","x":nan}')
    assert one(result).firmware == (("main", "1.0 \U0001f600"),)


@pytest.mark.parametrize(
    "before, after", [(b"\xef\xbb\xbf", b""), (b"", b"\0"), (b"", b"\0\0\n"), (b"\xef\xbb\xbf", b"\r\n\0")]
)
@pytest.mark.parametrize(
    "kind, payload",
    [
        ("telemetry", b'{"battery":87}'), ("connection", b'{"status":"online"}'), ("connection", b"online"),
        ("status", b"1"), ("status", b'"online"'),
    ],
)  # fmt: skip
def test_a_byte_order_mark_and_nuls_at_the_end_never_cost_a_message(
    before: bytes, after: bytes, kind: str, payload: bytes
) -> None:
    result = decoded(before + payload + after, kind)
    assert one(result).presence is ONLINE
    assert result.field_errors == ()


@pytest.mark.parametrize("kind", ["telemetry", "connection"])
@pytest.mark.parametrize("payload", [b"\0", b"\0\0", b"\xef\xbb\xbf", b"\xef\xbb\xbf\0"])
def test_an_empty_text_with_its_end_is_as_empty_as_none(kind: str, payload: bytes) -> None:
    assert decoded(payload, kind) == decoded(b"", kind)


@pytest.mark.parametrize("kind", ["telemetry", "connection"])
@pytest.mark.parametrize(
    "payload, name",
    [
        (gzip.compress(b'{"battery":87}'), "gzip"),
        (zlib.compress(b'{"battery":87,"rssi":-71,"fw":"1.4.2"}'), "zlib"),
        (b"\x81\xa7battery\x57", "CBOR"),
        (b"\xa1gbattery\x18\x57", "CBOR"),
        ('{"battery":87}'.encode("utf-16"), "UTF-16"),
        ('{"battery":87}'.encode("utf-16-le"), "UTF-16"),
        ('{"battery":87}'.encode("utf-16-be"), "UTF-16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_text_is_dead_and_named(kind: str, payload: bytes, name: str) -> None:
    dead = decoded(payload, kind).dead
    assert dead is not None
    assert dead.kind in ("json", "presence")
    if kind == "telemetry" or payload[:1] > b"\x7f":
        assert dead.kind == "json"
        assert name in dead.error


@pytest.mark.parametrize(
    "payload, place",
    [
        (b'{"a":nan,"b":1,}', "line 1 column 16"),
        (b'\xef\xbb\xbf{"a":1,}', "line 1 column 8"),
        (b'{"a":"\xff",\n "b" 1}', "line 2 column 6"),
        (b'{"\xc3\xa9":nan x}', "line 1 column 10"),
        (b'{"a":nan} {', "line 1 column 11"),
        (b'{"a":"x', "line 1 column 6"),
        (b"[" * 65 + b"nan" + b"]" * 65, "line 1 column 65"),
    ],
)
def test_an_error_names_where_it_truly_is_and_not_what_could_be_left_out(payload: bytes, place: str) -> None:
    dead = decoded(payload).dead
    assert dead is not None
    assert dead.error.endswith(place)


@pytest.mark.parametrize("digits", [1, 19, 20, 21, 308, 309, 310, 5_000])
def test_a_number_of_many_digits_never_raises(digits: int) -> None:
    result = decoded('{"note":nan,"a":' + "9" * digits + ',"b":-' + "9" * digits + ',"c":1}')
    assert [reading.name for reading in one(result).readings] == (["a", "b", "c"] if digits < 309 else ["c"])


def test_what_is_large_must_be_json() -> None:
    payload = b'{"x":nan,"note":"' + b"x" * tolerant.MAX_BYTES + b'"}'
    dead = decoded(payload).dead
    assert dead is not None
    assert f"more than {tolerant.MAX_BYTES} bytes" in dead.error
    odd = decoded(payload.replace(b"nan", b"1").replace(b"xx", b"\xfc", 1)).dead
    assert odd is not None
    assert "0xfc at byte 16" in odd.error
    assert one(decoded(b"\xef\xbb\xbf" + payload.replace(b"nan", b"1"))).readings[0].value == 1


@given(bodies)
def test_tolerance_changes_nothing_of_what_is_json(body: dict[str, Any]) -> None:
    raw = orjson.dumps(body)
    value, bad = tolerant.loads(raw)
    plain, tolerated = (
        decode(publish(raw), context(), None),
        decode(publish(b"\xef\xbb\xbf" + raw), context(), None),
    )
    assert plain == tolerated
    if not bad:
        assert orjson.dumps(value) == orjson.dumps(orjson.loads(raw))


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8).map(
    lambda text: orjson.dumps(text).decode()
)
odd = st.sampled_from(["nan", "-inf", "1e999", '"\n"', '"\udcff"', "Infinity"])
almost = st.recursive(
    odd | texts | st.integers(-9, 99).map(str),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda one: "[" + ",".join(one) + "]")
        | st.dictionaries(texts, inner, max_size=4).map(
            lambda one: "{" + ",".join(f"{key}:{value}" for key, value in one.items()) + "}"
        )
    ),
    max_leaves=12,
)


@given(almost)
def test_any_message_with_bad_values_alone_is_read(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    if text[:1] in "[{":
        value, _ = tolerant.loads(raw)
        orjson.dumps(value)
    decoded(raw)


@given(st.binary(max_size=60), st.sampled_from([b'{"a":', b'["', b'{"b":nan,', b'"\\']))
def test_arbitrary_bytes_are_read_or_named_and_nothing_else(raw: bytes, head: bytes) -> None:
    with contextlib.suppress(tolerant.NotJsonError):
        tolerant.loads(head + raw)


def test_a_message_with_a_bad_value_has_at_most_64_kib_and_64_levels() -> None:
    frame = len(b'{"x":nan,"note":""}')
    fits = b'{"x":nan,"note":"' + b"n" * (64 * 1024 - frame) + b'"}'
    assert one(decoded(fits)).readings == ()
    assert decoded(fits.replace(b"nn", b"nnn", 1)).dead is not None
    assert decoded(fits.replace(b"nn", b"nnn", 1) + b"\0").dead is not None
    assert decoded(fits + b"\0").dead is None
    assert decoded(b'{"x":nan,"d":' + b"[" * 63 + b"]" * 63 + b"}").dead is None
    for before in (b"", b'"s":[[],[],{}],'):
        deep = b'{"x":nan,' + before + b'"d":' + b"[" * 64 + b"]" * 64 + b"}"
        assert "nested deeper than 64" in str(decoded(deep).dead)


def test_a_hundred_bad_values_are_listed_and_each_beyond_is_null_too() -> None:
    for count, listed in ((100, 100), (101, 100)):
        value, bad = tolerant.loads(b"[" + b",".join([b"nan"] * count) + b"]")
        assert (value, len(bad)) == ([None] * count, listed)


@pytest.mark.parametrize(
    "number", [2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**19, 10**20 - 1, 10**20, -(10**19), 10**308]
)
def test_a_whole_number_beside_a_bad_value_is_what_it_is_without_one(number: int) -> None:
    (beside, _), bad = tolerant.loads(f"[{number},nan]".encode())
    alone = orjson.loads(str(number))
    assert (beside, type(beside)) == (alone, type(alone))
    assert len(bad) == 1


@pytest.mark.parametrize(
    "raw, value, reason",
    [
        (b"\x80", r"\x80", "holds the byte 0x80, which is not UTF-8"),
        (b"\xff", r"\xff", "holds the byte 0xff, which is not UTF-8"),
        (b"\0", r"\x00", "holds the control character 0x00 as it is: escape it"),
        (b"\x1f", r"\x1f", "holds the control character 0x1f as it is: escape it"),
        (rb"\udc20", r"\udc20", "contains a lone surrogate, which is not a character"),
        (rb"\udd00", r"\udd00", "contains a lone surrogate, which is not a character"),
        (rb"\ud800", r"\ud800", "contains a lone surrogate, which is not a character"),
    ],
)
def test_what_is_wrong_in_a_string_is_shown_and_named(raw: bytes, value: str, reason: str) -> None:
    for at, body in ((("a",), b'{"a":"' + raw + b'"}'), (("a", 1), b'{"a":[1,"' + raw + b'"]}')):
        _, (bad,) = tolerant.loads(body)
        assert bad == (at, value, reason)


def test_a_number_beyond_a_double_and_one_that_is_none_are_named() -> None:
    value, bad = tolerant.loads(b'{"a":1e999,"b":[-Infinity,1.5]}')
    assert value == {"a": None, "b": [None, 1.5]}
    assert bad == [(("a",), "1e999", "is beyond a double"), (("b", 0), "-Infinity", "is not a finite number")]


@pytest.mark.parametrize(
    "payload, what",
    [
        (b"\x78\x9c\xff\xff", "zlib"),
        (b"\x80", "CBOR or MessagePack"),
        (b"\xbf\x61", "CBOR or MessagePack"),
        (b"\xd9\xd9\xf7\xa0", "CBOR or MessagePack"),
        (b"{\0}\0\x01", "UTF-16 or UTF-32"),
        (b"\0{\0}", "UTF-16 or UTF-32"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_bytes_that_are_no_text_are_named(payload: bytes, what: str) -> None:
    with pytest.raises(tolerant.NotJsonError, match=what):
        tolerant.loads(payload)


@pytest.mark.parametrize("payload", [b"x^ is text", b"\xc3\xa4", b"{\0}", b"{\0\x01\x01"])
def test_bytes_that_may_be_text_are_not_taken_for_anything_else(payload: bytes) -> None:
    with pytest.raises(tolerant.NotJsonError) as raised:
        tolerant.loads(payload)
    assert not any(what in str(raised.value) for what in ("zlib", "binary", "UTF-16"))


def test_an_error_counts_lines_and_columns_from_one() -> None:
    for payload, place in ((b"x", "line 1 column 1"), (b'{"a":\n nan, x}', "line 2 column 7")):
        with pytest.raises(tolerant.NotJsonError, match=place):
            tolerant.loads(payload)
    with pytest.raises(tolerant.NotJsonError, match="line 2 column 65"):
        tolerant.loads(b"nan\n" + b"[" * 65)
    with pytest.raises(tolerant.NotJsonError, match="byte 0xfc at byte 2,"):
        tolerant.decoded(b"a\xfc")
    with pytest.raises(tolerant.NotJsonError, match=r"^nan is not a finite number: line 1 column 1$"):
        tolerant.loads(b"nan")


@pytest.mark.parametrize(
    "path, skip, field",
    [
        (("a", "battery"), 0, "battery"),
        (("a", "b", 3), 0, "a.b.3"),
        ((3, "BATT"), 0, "[3].batt"),
        ((3,), 0, "[3]"),
        ((3, "x"), 1, "x"),
        ((), 0, '""'),
    ],
)
def test_a_bad_value_is_an_error_of_its_field(path: tuple[str | int, ...], skip: int, field: str) -> None:
    assert tolerant.Bad(path, "nan", "is odd").error(skip) == (field, "is odd", "nan")
