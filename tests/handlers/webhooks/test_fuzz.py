"""Every shape under grammar, mutated samples and mutated bytes: no exception, only what the columns hold."""

from typing import Any

import cbor2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.events import Liveness
from handlers.webhooks.delivery import MAX_EVENT_ID, Context, Handshake, Request
from handlers.webhooks.shapes import DECODERS, decode, recognised
from tests.handlers.limits import assert_fits_columns, assert_tellable
from tests.handlers.webhooks.samples import INTEGRATION, NOW, SAMPLES, Sample

DEAD = {"json", "shape", "event", "device_id", "presence", "payload"}


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for one in value.values() for key in _keys(one)}
    return {key for one in value for key in _keys(one)} if isinstance(value, list) else set()


def _json(sample: Sample) -> Any:
    try:
        return orjson.loads(sample.request.body)
    except orjson.JSONDecodeError:
        return {}


KEYS = sorted({key for sample in SAMPLES for key in _keys(_json(sample))})
WORDS = sorted(
    {
        text
        for sample in SAMPLES
        for text in sample.request.body.decode("latin-1").split('"')
        if 0 < len(text) < 80
    }
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-200, 2000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70)
    | st.sampled_from(["online", "offline", "2026-02-15T17:00:00Z", "\0", "x" * 300, "W10=", "1e99"])
    | st.sampled_from(WORDS)
)
keys = st.sampled_from(KEYS) | st.text(max_size=70)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=30,
)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "ce-source", "ce-type", "ce-id", "ce-time", "webhook-id", "x-amz-sns-message-type"]
    ),
    st.sampled_from(
        [
            "application/json",
            "application/cbor",
            "text/plain",
            "io.golioth.data.v1/.s/battery",
            "golioth/app",
            "d1",
        ]
    )
    | st.text(max_size=300),
    max_size=6,
)
contexts = st.builds(
    lambda event_time, paths: Context(INTEGRATION, Liveness(event_time=event_time), paths),
    st.booleans(),
    st.sampled_from([{}, {"battery": "data.v", "device_id": "meta.id", "pressure": "p"}]),
)
each_shape = pytest.mark.parametrize("shape", sorted(DECODERS))


def check(shape: str, request: Request, context: Context) -> None:
    outcome = DECODERS[shape](request, context)
    assert outcome == DECODERS[shape](request, context)
    if isinstance(outcome, Handshake):
        return
    for event in outcome:
        assert event.id is None or (0 < len(event.id) <= MAX_EVENT_ID and event.id.isprintable())
        assert len(event.name) <= 80
        assert "\0" not in event.name
        event.name.encode()
        assert_tellable(event.decoded)
        assert event.decoded.dead is None or event.decoded.dead.kind in DEAD
        for observation in event.decoded.observations:
            assert_fits_columns(observation)
            assert observation.source == "webhook"


def replaced(value: Any, data: st.DataObject) -> Any:
    """Return a JSON value with some of its nodes changed, dropped or moved."""
    roll = data.draw(st.integers(0, 9))
    if roll == 0:
        return data.draw(values)
    if isinstance(value, dict):
        changed = {key: replaced(one, data) for key, one in value.items() if data.draw(st.integers(0, 9))}
        return {**changed, **(data.draw(st.dictionaries(keys, values, max_size=2)) if roll == 1 else {})}
    return [replaced(one, data) for one in value] if isinstance(value, list) else value


@each_shape
@given(body=st.binary(max_size=200), headers=headers, context=contexts)
def test_arbitrary_bytes_never_raise(
    shape: str, body: bytes, headers: dict[str, str], context: Context
) -> None:
    check(shape, Request(body, headers, NOW), context)


@each_shape
@given(body=values | st.dictionaries(keys, values, max_size=20), headers=headers, context=contexts)
def test_any_json_gives_only_what_fits_the_columns(
    shape: str, body: Any, headers: dict[str, str], context: Context
) -> None:
    check(shape, Request(orjson.dumps(body), headers, NOW), context)


@each_shape
@given(data=st.data(), context=contexts)
def test_a_changed_sample_gives_only_what_fits_the_columns(
    shape: str, data: st.DataObject, context: Context
) -> None:
    sample = data.draw(st.sampled_from([sample for sample in SAMPLES if sample.shape == shape]))
    body = orjson.dumps(replaced(_json(sample), data))
    check(shape, sample.request._replace(body=body), context)


@each_shape
@given(data=st.data(), context=contexts)
def test_a_sample_with_changed_bytes_never_raises(shape: str, data: st.DataObject, context: Context) -> None:
    sample = data.draw(st.sampled_from([sample for sample in SAMPLES if sample.shape == shape]))
    body = bytearray(sample.request.body)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(shape, sample.request._replace(body=bytes(body)), context)


@given(
    body=st.binary(max_size=120) | st.dictionaries(keys, values, max_size=8).map(cbor2.dumps),
    context=contexts,
)
def test_any_cbor_gives_only_what_fits_the_columns(body: bytes, context: Context) -> None:
    wanted = {"ce-source": "d1", "ce-type": "io.golioth.data.v1/.s/x", "content-type": "application/cbor"}
    check("golioth_pipelines", Request(body, wanted, NOW), context)


@given(body=st.binary(max_size=100) | values.map(orjson.dumps), headers=headers, context=contexts)
def test_a_request_of_any_kind_is_recognised_or_refused(
    body: bytes, headers: dict[str, str], context: Context
) -> None:
    request = Request(body, headers, NOW)
    assert recognised(request) in {*DECODERS, None}
    assert decode(request, context) is not None
