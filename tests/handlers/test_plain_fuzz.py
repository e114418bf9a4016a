from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from handlers.dialects.plain import Context, decode
from handlers.events import FieldError, Liveness, Publish
from handlers.keys import BATTERY, CONTAINERS, DEVICE, FIRMWARE, PRESENCE, SIGNAL, TIME
from handlers.shapes import quickly_read
from handlers.telemetry import read
from handlers.topics import Topics
from tests.handlers.limits import assert_fits_columns, assert_tellable
from tests.handlers.test_plain import HEARD, INTEGRATION, NOW

DEAD = {"topic", "device_id", "oversized", "json", "shape", "presence"}
KNOWN = BATTERY + SIGNAL + FIRMWARE + TIME + DEVICE + PRESENCE + CONTAINERS

paths = st.sampled_from(
    [{}, {"battery_level": "data.v", "pressure": "data.p", "firmware": "state", "ts": "x.y.z"}]
)
contexts = st.builds(
    lambda event_time, field_paths: Context(
        INTEGRATION, Topics.parse(None), Liveness(event_time=event_time), field_paths
    ),
    st.booleans(),
    paths,
)
known_topics = st.sampled_from(["devices/d1/telemetry", "devices/d1/connection", "devices/d1/status"])
any_text = st.text(st.characters(exclude_categories=()), max_size=80)
words = st.sampled_from(
    ["online", "Offline", "1", "87%", "-71 dBm", "1767225600", "2026-01-01T00:00:00Z", "d1"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-200, 5000)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70)
    | words
)
known_keys = st.sampled_from(KNOWN + tuple(key.upper() for key in KNOWN) + ("p", "v", "deviceId"))
keys = known_keys | st.text(max_size=70)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=40,
)
bodies = st.dictionaries(keys, values, max_size=40)
heard = st.sampled_from([None, 0, HEARD, NOW])


def check(
    topic: str, payload: bytes, context: Context, heard_until: int | None, retain: bool = False
) -> None:
    publish = Publish(topic, payload, 1, retain, False, 1, NOW, len(payload))
    result = decode(publish, context, heard_until)
    assert result == decode(publish, context, heard_until)
    assert_tellable(result)
    assert result.dead is None or result.dead.kind in DEAD
    for observation in result.observations:
        assert_fits_columns(observation)


@given(known_topics, st.binary(max_size=200), contexts, heard, st.booleans())
def test_arbitrary_bytes_never_raise(
    topic: str, payload: bytes, context: Context, heard_until: int | None, retain: bool
) -> None:
    check(topic, payload, context, heard_until, retain)


@given(known_topics, bodies | st.lists(bodies, max_size=4) | values, contexts, heard, st.booleans())
def test_any_json_gives_only_observations_that_fit_the_columns(
    topic: str, body: Any, context: Context, heard_until: int | None, retain: bool
) -> None:
    check(topic, orjson.dumps(body), context, heard_until, retain)


@given(known_topics, bodies, contexts, st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_nothing_but_the_order_of_readings(
    topic: str, body: dict[str, Any], context: Context, random: Any
) -> None:
    items = list(body.items())
    random.shuffle(items)
    results = []
    for one in (body, dict(items)):
        payload = orjson.dumps(one)
        result = decode(Publish(topic, payload, 1, False, False, 1, NOW, len(payload)), context, None)
        results.append([seen._replace(readings=()) for seen in result.observations])
    assert results[0] == results[1]


@given(any_text, st.sampled_from(["", "devices/"]), st.sampled_from(["", "/telemetry", "/status"]), contexts)
def test_arbitrary_topics_never_raise(text: str, before: str, after: str, context: Context) -> None:
    check(before + text + after, b"1", context, None)


@given(any_text, st.sampled_from(["{device_id}", "", "+", "{}"]), st.sampled_from(["", "/#"]))
def test_an_arbitrary_pattern_is_taken_or_refused_with_a_text(text: str, level: str, end: str) -> None:
    try:
        topics = Topics.parse({"telemetry": f"{text}/{level}{end}"})
    except ValueError as error:
        told = str(error)
    else:
        told = "topics: " + " ".join(topics.filters())
    assert told.startswith("topics")
    told.encode()


plain_bodies = st.dictionaries(
    st.sampled_from(
        (*KNOWN, "temperature", "temp", "Temp", "humidity", "RSSI", "batteryLevel", "é", "x" * 70)
    ),
    st.integers(-200, 200)
    | st.integers(0, 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.booleans(),
    max_size=6,
)


@given(plain_bodies | bodies)
def test_where_the_quick_reading_answers_it_answers_as_the_careful_one(body: dict[str, Any]) -> None:
    errors: list[FieldError] = []
    careful = read(body, {"never": "there.is.none"}, errors)
    quick = quickly_read(body)
    assert quick is None or (quick, []) == (careful, errors)


def test_the_quick_reading_answers_for_what_devices_say_most() -> None:
    quick = quickly_read(
        {"battery": 87, "rssi": -71, "ts": 1767225599000, "temperature": 21.5, "site": "north"}
    )
    assert quick is not None
    assert (quick.battery_level, quick.signal_strength, quick.time) == (87, -71, 1767225599000000)
    assert [(reading.name, reading.value) for reading in quick.readings] == [("temp", 21.5)]
