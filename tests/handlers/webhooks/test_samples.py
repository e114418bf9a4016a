import orjson
import pytest

from handlers.webhooks.delivery import Handshake, Request
from handlers.webhooks.shapes import DECODERS, checked, decode, recognised
from tests.handlers.limits import assert_fits_columns, assert_tellable
from tests.handlers.webhooks.samples import CONTEXT, SAMPLES, Sample, times, told

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: one.name)


@each_sample
def test_a_recorded_request_becomes_what_is_written_beside_it(sample: Sample) -> None:
    outcome = DECODERS[sample.shape](sample.request, CONTEXT)
    assert told(outcome) == times(sample.wanted)
    if not isinstance(outcome, Handshake):
        for event in outcome:
            assert_tellable(event.decoded)
            for observation in event.decoded.observations:
                assert_fits_columns(observation)


@each_sample
def test_a_recorded_request_shows_its_own_shape(sample: Sample) -> None:
    assert recognised(sample.request) == sample.shape
    assert decode(sample.request, CONTEXT) == DECODERS[sample.shape](sample.request, CONTEXT)


@each_sample
def test_each_event_keeps_its_own_bytes_which_decode_to_the_same_again(sample: Sample) -> None:
    outcome = DECODERS[sample.shape](sample.request, CONTEXT)
    if isinstance(outcome, Handshake):
        return
    if len(outcome) == 1 and not sample.request.body.startswith(b"["):
        assert outcome[0].original == sample.request.body
    for event in outcome:
        if event.decoded.dead is not None and event.decoded.dead.kind == "shape":
            assert event.original in sample.request.body
            continue
        at = min(
            (seen.received_at for seen in event.decoded.observations), default=sample.request.received_at
        )
        again = DECODERS[sample.shape](sample.request._replace(body=event.original, received_at=at), CONTEXT)
        assert not isinstance(again, Handshake)
        assert [one.decoded for one in again] == [event.decoded]


def test_every_shape_has_samples() -> None:
    assert {sample.shape for sample in SAMPLES} == DECODERS.keys()


@pytest.mark.parametrize("shape", [*DECODERS, "auto"])
def test_a_shape_may_be_named_in_the_settings(shape: str) -> None:
    assert checked(shape) == shape
    assert checked(None) == "auto"


@pytest.mark.parametrize("shape", ["", "json", 5, [], {"a": 1}])
def test_an_unknown_shape_in_the_settings_is_named(shape: object) -> None:
    with pytest.raises(ValueError, match=r"^webhook\.shape: .*golioth_pipelines"):
        checked(shape)


def test_a_body_of_no_shape_is_a_dead_event_that_names_the_shapes() -> None:
    request = Request(b"\x00\x01", {}, CONTEXT.liveness.max_ahead)
    outcome = decode(request, CONTEXT)
    assert not isinstance(outcome, Handshake)
    dead = outcome[0].decoded.dead
    assert dead
    assert dead.kind == "shape"
    assert all(shape in dead.error for shape in DECODERS)


def test_sample_bodies_are_json_or_lie_in_a_file_of_their_own() -> None:
    for sample in SAMPLES:
        if sample.request.content_type.endswith("json"):
            orjson.loads(sample.request.body)
